"""Who is compared, and how each is started: one worker process (or pool) that can take jobs when the block begins."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from bench.figures import BenchError
from bench.fleet import running_fleet
from bench.machine import ROOT
from bench.posting import post_batch
from bench.processes import clean_environment, used_cpu_s
from bench.receiver import Receiver, running_receiver
from bench.waiting import wait_for
from deploy.embedded.processes import die_with_parent, kill, stop, tail
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import embedded_valkey
from simulator.testing import SimulatorProcess, simulator_process

BIN = ROOT / ".venv-peers" / "bin"
PROGRAMS = Path(__file__).parent / "programs"
WARM_UP_JOBS, WARM_UP_S = 16, 120.0
"""How many jobs are done before anything is measured, two for each process of a pool, and how long that may take."""
GRACE_S = 2.0
SETTLE_S = 2.0
"""From a peer's start to its first job: saq looks for jobs to take up again then, and would take up one just begun."""
LIFTED = 100_000_000
"""Limits of an account that never bind."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A program of `programs/`. `at_once`: how many jobs its worker has under way at most, also in its command."""

    name: str
    command: tuple[str, ...]
    at_once: int
    environment: tuple[tuple[str, str], ...] = ()


def _celery(pool: str, concurrency: str = "{at_once}") -> tuple[str, ...]:
    return ("celery", "-A", "with_celery", "worker", "-P", pool, "-c", concurrency, "-l", "WARNING")


DARKROOM = "darkroom"
SDK_THREADS = Peer("celery-sdk, threads", _celery("threads"), 200)
SDK_PREFORK = Peer("celery-sdk, prefork", _celery("prefork"), 8)
RETRY = Peer("celery-retry", _celery("threads", "20"), 200)
SAQ = Peer("saq", ("saq", "with_saq.settings"), 200)
TASKIQ = Peer(
    "taskiq",
    ("taskiq", "worker", "with_taskiq:broker", "--workers", "1", "--max-async-tasks", "{at_once}"),
    200,
)
PEERS = (SDK_THREADS, SDK_PREFORK, RETRY, SAQ, TASKIQ)


Number = TypeVar("Number", int, float)


class Tree:
    """A process with all that it has started."""

    def __init__(self, *pids: int) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]

    def _children(self) -> list[psutil.Process]:
        return [one for root in self._roots for one in root.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds that they have used so far, those of children that have ended included."""
        used = sum(root.cpu_times().children_user + root.cpu_times().children_system for root in self._roots)
        return used + sum(_of(self._roots, used_cpu_s)) + sum(_of(self._children(), used_cpu_s, may_end=True))

    def rss_bytes(self) -> int:
        """Resident memory of all of them now; what they share counts with each."""
        return sum(_of(self._roots, _rss_bytes)) + sum(_of(self._children(), _rss_bytes, may_end=True))


def _of(
    processes: list[psutil.Process], ask: Callable[[psutil.Process], Number], *, may_end: bool = False
) -> Iterator[Number]:
    """Ask each; a child that has ended meanwhile counts with its parent then."""
    for one in processes:
        try:
            yield ask(one)
        except psutil.NoSuchProcess:
            if not may_end:
                raise


def _rss_bytes(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


@dataclass(frozen=True, slots=True)
class Running:
    """A side that is up. `enqueue` takes the first number and how many; `restart` follows a `kill`.

    `tree` is all that its jobs need, `worker` the process (or pool) that holds those in flight.
    """

    name: str
    tree: Callable[[], Tree]
    worker: Callable[[], Tree]
    enqueue: Callable[[int, int], None]
    kill: Callable[[], None]
    restart: Callable[[], None]
    simulator: SimulatorProcess
    receiver: Receiver

    def ledger(self) -> list[dict[str, Any]]:
        """Give what upstream made, the warm-up apart."""
        warm_up = {f"bench panel {number}" for number in range(WARM_UP_JOBS)}
        return [item for item in self.simulator.predictions() if item["prompt"] not in warm_up]


@contextmanager
def running(side: Peer | None, *, simulator: dict[str, Any]) -> Iterator[Running]:
    """Start a side (None: Darkroom) on servers of its own, and let it do a few jobs, so that everything is loaded.

    Darkroom learns from them how long generations take, as it does from any, so its own take as long as what follows;
    peers learn nothing, and get theirs over with.
    """
    upstream = {"images_per_minute": LIFTED, "max_concurrency": LIFTED, "image_bytes": 100_000, **simulator}
    inference = {name: upstream[name] for name in ("inference_min_s", "inference_max_s")}
    quick = {} if side is None else {"inference_min_s": 0.1, "inference_max_s": 0.2}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        start = _darkroom if side is None else _peer(side)
        up = stack.enter_context(start(Path(scratch), {**upstream, **quick}))
        up.enqueue(0, WARM_UP_JOBS)
        wait_for(lambda: len(up.receiver.arrived_at) == WARM_UP_JOBS, WARM_UP_S, what=f"the first jobs of {up.name}")
        up.simulator.settings(**inference)
        up.receiver.arrived_at.clear()
        yield up


@contextmanager
def _darkroom(scratch: Path, simulator: dict[str, Any]) -> Iterator[Running]:
    settings = {
        "WAVESPEED_IMAGES_PER_MINUTE": str(LIFTED),
        "WAVESPEED_MAX_CONCURRENCY": str(LIFTED),
        "DARKROOM_MAX_UNSTORED_IMAGES": str(LIFTED),
    }
    with running_fleet(scratch, simulator=simulator, poll_min_s=2.0, settings=settings) as fleet:
        yield Running(
            DARKROOM,
            lambda: Tree(fleet.worker.popen.pid, fleet.api.popen.pid),
            lambda: Tree(fleet.worker.popen.pid),
            lambda first, count: post_batch(fleet, count, first=first),
            fleet.worker.kill,
            fleet.worker.start,
            fleet.simulator,
            fleet.receiver,
        )


def _peer(peer: Peer) -> Callable[[Path, dict[str, Any]], AbstractContextManager[Running]]:
    @contextmanager
    def start(scratch: Path, simulator: dict[str, Any]) -> Iterator[Running]:
        if not BIN.exists():
            raise BenchError("the peers' environment is missing: run `make peers`")
        with ExitStack() as stack:
            valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
            s3 = stack.enter_context(embedded_s3(scratch / "s3"))
            upstream = stack.enter_context(simulator_process(**simulator))
            receiver = stack.enter_context(running_receiver())
            environment = clean_environment() | {
                "PYTHONPATH": str(PROGRAMS),
                "PEER_UPSTREAM_URL": upstream.url,
                "PEER_WEBHOOK_URL": receiver.url,
                "PEER_BROKER_URL": valkey.url,
                "PEER_AT_ONCE": str(peer.at_once),
                "PEER_BUCKET": s3.bucket,
                "PEER_S3_URL": s3.endpoint_url,
                "PEER_S3_REGION": s3.region,
                "PEER_S3_KEY": s3.access_key_id,
                "PEER_S3_SECRET": s3.secret_access_key,
                **dict(peer.environment),
            }
            worker = _Worker(peer, scratch, environment)
            stack.callback(worker.stop)
            time.sleep(SETTLE_S)
            yield Running(
                peer.name, worker.tree, worker.tree, worker.enqueue, worker.kill, worker.start, upstream, receiver
            )

    return start


class _Worker:
    """A peer's worker process."""

    def __init__(self, peer: Peer, scratch: Path, environment: dict[str, str]) -> None:
        self._peer, self._scratch, self._environment = peer, scratch, environment
        self._log = scratch / "peer.log"
        self.start()

    def start(self) -> None:
        """Start it, again after a kill."""
        program, *arguments = (part.format(at_once=self._peer.at_once) for part in self._peer.command)
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                [str(BIN / program), *arguments],
                cwd=self._scratch,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def tree(self) -> Tree:
        """Its processes; raises `BenchError` with its last output if it has ended."""
        if self._popen.poll() is not None:
            raise BenchError(f"{self._peer.name} ended:\n{tail(self._log, lines=15)}")
        return Tree(self._popen.pid)

    def enqueue(self, first: int, count: int) -> None:
        """Enqueue jobs by the peer's own client, in a process of its own."""
        command = [str(BIN / "python"), str(PROGRAMS / "enqueue.py"), self._peer.name.partition(",")[0]]
        subprocess.run([*command, str(first), str(count)], env=self._environment, cwd=self._scratch, check=True)

    def kill(self) -> None:
        """End every process of it by SIGKILL."""
        children = psutil.Process(self._popen.pid).children(recursive=True)
        kill(self._popen)
        for child in children:
            if child.is_running():
                child.kill()

    def stop(self) -> None:
        """End it in order, hard after a short grace: what it was at is not waited for."""
        stop(self._popen, grace_s=GRACE_S)
