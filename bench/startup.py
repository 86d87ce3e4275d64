"""How soon the service works: the whole stack of `darkroom up`, and one worker and one API on running servers."""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import redis

from bench.figures import Figure, Outcome, figure
from bench.fleet import START_TIMEOUT_S, answers, breathes, consumes, environment
from bench.processes import ServiceProcess, start_in
from bench.waiting import wait_for
from deploy.embedded.processes import free_port
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import embedded_valkey
from simulator.testing import simulator_process

READY = "Darkroom is ready."
PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Starts:
    """How often each is started. The stack's first start makes keys and folders and is told apart."""

    stack: int = 4
    processes: int = 3


def run(starts: Starts) -> Outcome:
    """Start and stop everything so many times, one after another."""
    stack_s = _start_stack(starts.stack)
    alone = _start_alone(starts.processes)
    rows: list[tuple[str, str, list[float]]] = [
        ("darkroom up", "to `Darkroom is ready.`, first start", stack_s[:1]),
        ("darkroom up", "to `Darkroom is ready.`, later starts", stack_s[1:]),
        *(("one process on running servers", what, values) for what, values in alone.items()),
    ]
    figures: list[Figure] = [figure(case, what, "s", *values) for case, what, values in rows if values]
    return Outcome("startup", asdict(starts), figures)


def _start_stack(times: int) -> list[float]:
    taken = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        for _ in range(times):
            (scratch / "up.log").unlink(missing_ok=True)
            arguments = ("up", "--port=0", f"--data-dir={scratch / 'data'}")
            with ExitStack() as stack:
                up = start_in(stack, "up", *arguments, scratch=scratch, env={})
                taken.append(_seconds_until(up, _said, READY))
    return taken


def _start_alone(times: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as servers:
        scratch = Path(folder)
        valkey = servers.enter_context(embedded_valkey(scratch / "valkey"))
        s3 = servers.enter_context(embedded_s3(scratch / "s3"))
        upstream = servers.enter_context(simulator_process())
        client = servers.enter_context(redis.Redis.from_url(valkey.url, decode_responses=True))
        env = environment(valkey.url, s3, upstream.url)
        for _ in range(times):
            for what, seconds in [*_start_worker(scratch, env, client), *_start_api(scratch, env)]:
                taken.setdefault(what, []).append(seconds)
    return taken


def _start_worker(scratch: Path, env: dict[str, str], client: "redis.Redis") -> list[tuple[str, float]]:
    with ExitStack() as stack:
        worker = start_in(stack, "worker", "worker", "--name", "bench", scratch=scratch, env=env)
        return [
            ("worker: to its first sign of life, which `up` waits for", _seconds_until(worker, breathes, client)),
            ("worker: to consuming", _seconds_until(worker, consumes, client)),
        ]


def _start_api(scratch: Path, env: dict[str, str]) -> list[tuple[str, float]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        api = start_in(stack, "api", "api", "--port", str(port), scratch=scratch, env=env)
        return [
            ("api: to /healthz", _seconds_until(api, answers, url, "/healthz")),
            ("api: to /readyz", _seconds_until(api, answers, url, "/readyz")),
        ]


def _said(process: ServiceProcess, text: str) -> bool:
    process.must_run()
    return text in process.output()


def _seconds_until(process: ServiceProcess, condition: Callable[..., bool], *arguments: object) -> float:
    what = f"{process.name}: {condition.__name__}"
    wait_for(lambda: condition(process, *arguments), START_TIMEOUT_S, what=what, pause_s=PAUSE_S)
    return round(time.time() - process.started_at, 3)
