"""The processes of a storm, each of which can be killed, stopped or told to leave, and comes back by a timer.

A real Valkey that syncs every write, a real S3 server, the simulator with its journal, one API, several workers.
Everything is started by the main thread: the kernel kills a child when the thread that made it ends.
"""

import heapq
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import redis

from bench.fleet import answers, breathes, environment
from bench.processes import ServiceProcess
from deploy.embedded.processes import free_port, tail
from deploy.embedded.s3 import EmbeddedS3, embedded_s3
from deploy.embedded.valkey import EmbeddedValkey, embedded_valkey
from simulator.settings import Settings, SimulatorOptions
from simulator.testing import SimulatorProcess
from tests.chaos.storm.plan import TENANTS, Shape, Strike
from tests.chaos.storm.receiver import StormReceiver
from tests.support.waiting import wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEYS = {tenant: f"dk_{tenant}" for tenant in TENANTS}
RATE, CONCURRENCY = 2_000, 60
SUBMIT_TIMEOUT_S, LEASE_MARGIN_S = 1.0, 20.0
"""A submit is given up after its timeout; its lease lasts so much longer (connecting and the margin)."""

STORE_AWAY = 2
"""What a process ends with that finds no store at its start."""

START_S = 60.0
TICK_S = 0.02


def service_settings(shape: Shape) -> dict[str, str]:
    """Give the service's settings: impatient where patience only takes time, and a window longer than any freeze.

    A process that is stopped between its last check and its POST sends when it goes on; the lease and the window must
    outlast that, as they do in production for any stop shorter than three minutes.
    """
    window_s = max(3.0, shape.longest_freeze_s + 12.0 - SUBMIT_TIMEOUT_S - LEASE_MARGIN_S)
    return {
        "WAVESPEED_IMAGES_PER_MINUTE": str(RATE),
        "WAVESPEED_MAX_CONCURRENCY": str(CONCURRENCY),
        "DARKROOM_API_KEYS": ",".join(f"{tenant}:{key}" for tenant, key in KEYS.items()),
        "DARKROOM_SUBMIT_TIMEOUT_SECONDS": str(SUBMIT_TIMEOUT_S),
        "DARKROOM_RECONCILE_WINDOW_SECONDS": str(window_s),
        "DARKROOM_LANE_PROBE_SECONDS": "1",
        "DARKROOM_OUTPUT_GRACE_SECONDS": "5",
        "DARKROOM_POLL_MIN_SECONDS": "0.3",
        "DARKROOM_POLL_MAX_SECONDS": "2",
        "DARKROOM_WEBHOOK_SECRET": SECRET,
        "DARKROOM_WEBHOOK_TIMEOUT": "2",
        "DARKROOM_WEBHOOK_RETRY_SCHEDULE": "0,0.5,1" + ",2" * 100,
    }


@dataclass(slots=True)
class Member:
    """One process of the service under its name; it is started again by the same command."""

    name: str
    arguments: tuple[str, ...]
    process: ServiceProcess
    expected_end: bool = False
    frozen: bool = False

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self.process.popen.poll() is None


class World:
    """All processes, and the strikes against them. Call everything from the main thread."""

    def __init__(
        self, folder: Path, shape: Shape, valkey: EmbeddedValkey, s3: EmbeddedS3, receiver: StormReceiver
    ) -> None:
        self.folder, self.valkey, self.s3, self.receiver = folder, valkey, s3, receiver
        self.healed = False
        self.struck: Counter[str] = Counter()
        self.struck_at: list[tuple[float, str]] = []
        """When (Unix seconds) what was killed, stopped or cut off."""
        self.deaths: list[str] = []
        """Who ended although nobody had struck it, and not because the store was away at its start."""
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._simulator_port, api_port = free_port(), free_port()
        self.api_url = f"http://127.0.0.1:{api_port}"
        self.simulator = self._start_simulator()
        self.upstream: Literal["up", "frozen", "down"] = "up"
        self._env = environment(valkey.url, s3, self.simulator.url) | service_settings(shape)
        self.api = self._member("api", "api", "--port", str(api_port))
        self.workers = [
            self._member(f"worker-{n}", "worker", "--name", f"w{n}", "--concurrency", "6") for n in range(shape.workers)
        ]

    def wait_until_ready(self) -> None:
        """Wait until every worker has given a sign of life and the API answers."""
        with redis.Redis.from_url(self.valkey.url, decode_responses=True, encoding_errors="surrogateescape") as client:
            for worker in self.workers:
                wait_until(partial(breathes, worker.process, client), START_S, what=worker.name)
        wait_until(lambda: answers(self.api.process, self.api_url, "/healthz"), START_S, what="the api")

    def _member(self, name: str, *arguments: str) -> Member:
        return Member(name, arguments, ServiceProcess(name, arguments, scratch=self.folder, env=self._env))

    def _start_simulator(self) -> SimulatorProcess:
        changes = {
            "inference_min_s": 0.3,
            "inference_max_s": 1.5,
            "image_bytes": 20_000,
            "images_per_minute": RATE,
            "max_concurrency": CONCURRENCY,
        }
        options = SimulatorOptions(
            port=self._simulator_port,
            state_path=str(self.folder / "simulator.jsonl"),
            settings=Settings().changed(changes),
        )
        return SimulatorProcess(options)

    def later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do something after a while, in `run_until`."""
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), action))

    def run_until(self, over: Callable[[], bool]) -> None:
        """Let timers go off and processes come back until `over` says so."""
        while not over():
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
            for member in (self.api, *self.workers):
                self._look_after(member)
            time.sleep(TICK_S)

    def _look_after(self, member: Member) -> None:
        if not member.runs and not member.expected_end:
            code = member.process.popen.returncode
            self.struck[f"{member.name} ended by itself with {code}"] += 1
            if code != STORE_AWAY:
                self.deaths.append(f"{member.name} ended by itself with {code}: {tail(member.process.log_path)}")
            member.expected_end = True
            self.later(0.5, lambda: self._restart(member))

    def _restart(self, member: Member) -> None:
        if not member.runs:
            member.process = ServiceProcess(member.name, member.arguments, scratch=self.folder, env=self._env)
            member.expected_end = member.frozen = False

    def strike(self, strike: Strike) -> None:
        """Let one thing break, and put its mending on the timers; what is broken already is struck a little later."""
        if getattr(self, f"_{strike.kind}")(strike):
            self.struck[strike.kind] += 1
            self.struck_at.append((time.time(), strike.kind))
        elif not self.healed:
            self.later(0.4, partial(self.strike, strike))

    def _worker_kill(self, strike: Strike) -> bool:
        return self._kill_member(self.workers[strike.target], strike.lasts_s)

    def _api_kill(self, strike: Strike) -> bool:
        return self._kill_member(self.api, strike.lasts_s)

    def _kill_member(self, member: Member, lasts_s: float) -> bool:
        if not member.runs or member.expected_end:
            return False
        member.expected_end = True
        os.killpg(member.process.popen.pid, signal.SIGKILL)
        member.process.popen.wait()
        self.later(lasts_s, lambda: self._restart(member))
        return True

    def _worker_term(self, strike: Strike) -> bool:
        member = self.workers[strike.target]
        if not member.runs or member.expected_end or member.frozen:
            return False
        member.expected_end = True
        member.process.popen.terminate()
        self._restart_when_gone(member, strike.lasts_s)
        return True

    def _restart_when_gone(self, member: Member, delay_s: float) -> None:
        if member.runs:
            self.later(0.3, lambda: self._restart_when_gone(member, delay_s))
        else:
            self.later(delay_s, lambda: self._restart(member))

    def _worker_freeze(self, strike: Strike) -> bool:
        member = self.workers[strike.target]
        if not member.runs or member.expected_end or member.frozen:
            return False
        popen, member.frozen = member.process.popen, True
        popen.send_signal(signal.SIGSTOP)

        def thaw() -> None:
            if popen.poll() is None:
                popen.send_signal(signal.SIGCONT)
                member.frozen = False

        self.later(strike.lasts_s, thaw)
        return True

    def _valkey_kill(self, strike: Strike) -> bool:
        return self._kill_server(self.valkey, strike.lasts_s)

    def _s3_kill(self, strike: Strike) -> bool:
        return self._kill_server(self.s3, strike.lasts_s)

    def _kill_server(self, server: EmbeddedValkey | EmbeddedS3, lasts_s: float) -> bool:
        if server.process.poll() is not None:
            return False
        server.kill()
        self.later(lasts_s, server.start)
        return True

    def _upstream_kill(self, strike: Strike) -> bool:
        if self.upstream != "up":
            return False
        self.upstream = "down"
        self.simulator.kill()
        self.later(strike.lasts_s, self._revive_upstream)
        return True

    def _revive_upstream(self) -> None:
        self.simulator = self._start_simulator()
        self.upstream = "up"

    def _upstream_freeze(self, strike: Strike) -> bool:
        if self.upstream != "up":
            return False
        self.upstream = "frozen"
        os.kill(self.simulator.pid, signal.SIGSTOP)
        self.later(strike.lasts_s, self._thaw_upstream)
        return True

    def _thaw_upstream(self) -> None:
        os.kill(self.simulator.pid, signal.SIGCONT)
        self.upstream = "up"

    def _submit_fault(self, strike: Strike) -> bool:
        if self.upstream != "up":
            return False
        life, fault = self.simulator, self.simulator.fault(**strike.fields)
        self._tell_upstream(strike.lasts_s, life, lambda: life.clear_faults(fault))
        return True

    _other_fault = _submit_fault

    def _list_delay(self, strike: Strike) -> bool:
        if self.upstream != "up":
            return False
        life = self.simulator
        life.settings(**strike.fields)
        self._tell_upstream(strike.lasts_s, life, lambda: life.settings(list_delay_s=0.0))
        return True

    def _tell_upstream(self, delay_s: float, life: SimulatorProcess, action: Callable[[], object]) -> None:
        """Tell this life of the simulator later; the next one starts without faults."""

        def act() -> None:
            if self.healed:
                return  # all is switched off at once then
            if self.upstream == "frozen":
                self._tell_upstream(0.3, life, action)
            elif self.upstream == "up" and self.simulator is life:
                action()

        self.later(delay_s, act)

    def _receiver_down(self, strike: Strike) -> bool:
        self.receiver.down = True

        def up() -> None:
            self.receiver.down = False

        self.later(strike.lasts_s, up)
        return True

    def heal(self) -> None:
        """Mend everything at once; workers that are still leaving come back in `run_until`."""
        self.healed = True
        timers, self._timers = sorted(self._timers), []
        for _, _, action in timers:
            action()
        self.simulator.clear_faults()
        self.simulator.settings(list_delay_s=0.0)
        self.receiver.failing, self.receiver.down = 0.0, False

    def close(self) -> None:
        """End every process, those first that would complain of the others' absence."""
        for member in (self.api, *self.workers):
            if member.runs:
                with suppress(ProcessLookupError):
                    os.killpg(member.process.popen.pid, signal.SIGCONT)
                member.process.popen.terminate()
        for member in (self.api, *self.workers):
            member.process.stop()
        if self.upstream == "frozen":
            self._thaw_upstream()
        self.simulator.close()


@contextmanager
def running_world(folder: Path, shape: Shape, receiver: StormReceiver) -> Iterator[World]:
    """Start everything, and end it at the end of the block."""
    with embedded_valkey(folder / "valkey") as valkey, embedded_s3(folder / "s3") as s3:
        world = World(folder, shape, valkey, s3, receiver)
        try:
            world.wait_until_ready()
            yield world
        finally:
            world.close()
