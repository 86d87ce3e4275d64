"""Taking single jobs: POSTs a second over 32 connections, beside FastAPI with Celery's `.delay()`; both durable."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import redis

from bench.figures import BenchError, Figure, Outcome, figure, percentile
from bench.fleet import API_KEY, answers, environment
from bench.machine import ROOT
from bench.memory import MB
from bench.parts.contest import DARKROOM, PROGRAMS, Side
from bench.peers.sides import Tree
from bench.processes import clean_environment, start_in
from bench.waiting import wait_for
from darkroom.store import keys
from deploy.embedded.processes import die_with_parent, free_port, stop
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import embedded_valkey
from simulator.testing import simulator_process

PEER = Side("FastAPI + .delay()", "ingress_delay")
START_S = 60.0
GRACE_S = 5.0
BODY = {"prompt": "x" * 200, "max_images": 1}


@dataclass(frozen=True, slots=True)
class Load:
    """How many connections post, for how long, how often."""

    at_once: int = 32
    seconds: float = 10.0
    warm_up_s: float = 2.0
    rounds: int = 5

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.at_once} connections"


@dataclass(frozen=True, slots=True)
class Server:
    """A side that is up."""

    url: str
    tree: Tree
    headers: dict[str, str]
    redis_url: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One side's round. `kept`: how many jobs Valkey holds, the warm-up included."""

    round: int
    side: str
    posts: int
    seconds: float
    cpu_s: float
    rss_bytes: int
    kept: int
    delays_ms: list[float]


def run(load: Load) -> Outcome:
    """Post to each side in turn, round after round, each on a Valkey of its own that syncs every write."""
    seen = []
    for number in range(1, load.rounds + 1):
        for side, start in ((DARKROOM, _darkroom), (PEER.name, _peer)):
            with tempfile.TemporaryDirectory(prefix="bench-") as scratch, start(Path(scratch)) as server:
                seen.append(_load(load, number, side, server))
    raw = [{name: value for name, value in asdict(item).items() if name != "delays_ms"} for item in seen]
    return Outcome("ingress", asdict(load), _figures(load, seen), raw)


def _load(load: Load, number: int, side: str, server: Server) -> Seen:
    task = {
        "url": f"{server.url}/v1/jobs",
        "headers": server.headers,
        "body": BODY,
        "at_once": load.at_once,
        "seconds": load.seconds,
        "warm_up_s": load.warm_up_s,
    }
    used = server.tree.cpu_s()
    done = subprocess.run(
        [sys.executable, "-m", f"{PROGRAMS}.ingress_load"],
        cwd=ROOT,
        input=json.dumps(task) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"ingress: the load on {side} ended with {done.returncode}")
    said: dict[str, Any] = json.loads(done.stdout)
    cpu_s, rss_bytes = server.tree.cpu_s() - used, server.tree.rss_bytes()
    kept, posts = _kept(server.redis_url), len(said["delays_ms"])
    if kept < posts:
        raise BenchError(f"{side} took {posts} jobs and holds {kept}")
    return Seen(number, side, posts, said["seconds"], cpu_s, rss_bytes, kept, said["delays_ms"])


def _kept(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return int(client.llen("celery") or client.hget(keys.DEPTH, "*|jobs") or 0)


def _figures(load: Load, seen: list[Seen]) -> list[Figure]:
    figures = []
    for side in dict.fromkeys(item.side for item in seen):
        mine = [item for item in seen if item.side == side]
        case = f"{load.name}, {side}"
        figures += [
            figure(case, "jobs accepted a second", "", *(round(item.posts / item.seconds, 1) for item in mine)),
            figure(case, "CPU a thousand jobs", "s", *(round(1000 * item.cpu_s / item.kept, 3) for item in mine)),
            figure(case, "POST → 202, median", "ms", *(percentile(sorted(item.delays_ms), 50) for item in mine)),
            figure(case, "POST → 202, p99", "ms", *(percentile(sorted(item.delays_ms), 99) for item in mine)),
            figure(case, "RSS", "MB", *(round(item.rss_bytes / MB, 1) for item in mine)),
        ]
    return figures


@contextmanager
def _darkroom(scratch: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
        s3 = stack.enter_context(embedded_s3(scratch / "s3"))
        upstream = stack.enter_context(simulator_process())
        port = free_port()
        env = environment(valkey.url, s3, upstream.url)
        api = start_in(stack, "api", "api", "--port", str(port), scratch=scratch, env=env)
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(api, url, "/healthz"), START_S, what="the api")
        yield Server(url, Tree(api.popen.pid), {"Authorization": f"Bearer {API_KEY}"}, valkey.url)


@contextmanager
def _peer(scratch: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
        port = free_port()
        program = f"{PROGRAMS}.{PEER.module}:api"
        process = subprocess.Popen(
            [PEER.python, "-m", "uvicorn", program, "--port", str(port), "--no-access-log", "--log-level", "warning"],
            cwd=ROOT,
            env=clean_environment() | {"PYTHONPATH": str(ROOT), "PEER_BROKER_URL": valkey.url},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        stack.callback(stop, process, grace_s=GRACE_S)
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _listens(process, url), START_S, what=PEER.name)
        yield Server(url, Tree(process.pid), {}, valkey.url)


def _listens(process: "subprocess.Popen[bytes]", url: str) -> bool:
    if process.poll() is not None:
        raise BenchError(f"{PEER.name} ended with {process.returncode}")
    try:
        return httpx.get(f"{url}/openapi.json", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
