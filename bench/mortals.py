"""Workers and a Valkey that are killed at random moments and come back, looked after from the main thread.

The kernel kills a child when the thread that started it ends, so nothing here may be called from another one.
"""

import heapq
import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bench.figures import BenchError
from bench.processes import ServiceProcess
from deploy.embedded.processes import tail
from deploy.embedded.valkey import EmbeddedValkey

AWAY_S = (0.2, 1.5)
"""How long what was killed stays away: the shortest and the longest."""

_EVENT = re.compile(r"\w+(\.\w+)+")
POSTPONED_S = 0.4
STORE_AWAY = 2
"""What a worker ends with that finds no store at its start; whoever looks after it starts it again."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, so many seconds after the beginning. `worker` is which of them, where it is one."""

    at_s: float
    what: Literal["worker", "Valkey"]
    worker: int
    away_s: float


@dataclass(frozen=True, slots=True)
class Killed:
    """A kill that was carried out; Unix seconds."""

    at: float
    what: str
    away_s: float


def draw_kills(seed: int, *, lasts_s: float, workers: int, worker_kills: int, valkey_kills: int) -> list[Kill]:
    """Draw when what is killed from the seed, evenly over the time, earliest first."""
    rng = random.Random(seed)

    def draw(what: Literal["worker", "Valkey"]) -> Kill:
        return Kill(rng.uniform(0, lasts_s), what, rng.randrange(workers), rng.uniform(*AWAY_S))

    kills = [draw("worker") for _ in range(worker_kills)] + [draw("Valkey") for _ in range(valkey_kills)]
    return sorted(kills, key=lambda kill: kill.at_s)


class Mortals:
    """The processes and what is to happen to them. `start_worker` starts the one of a number (again)."""

    def __init__(self, valkey: EmbeddedValkey, *, workers: int, start_worker: Callable[[int], ServiceProcess]) -> None:
        self.valkey = valkey
        self.workers = [start_worker(number) for number in range(workers)]
        self.killed: list[Killed] = []
        self._start_worker = start_worker
        self._away: set[int] = set()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def plan(self, kills: Sequence[Kill]) -> None:
        """Let these kills happen in `look_after`, counted from now."""
        for kill in kills:
            self._later(kill.at_s, partial(self._kill, kill))

    @property
    def at_rest(self) -> bool:
        """Whether every kill is over and everybody is back."""
        return not self._due and not self._away

    def look_after(self) -> None:
        """Let what is due happen, and bring back who came up without a store.

        Raises:
            BenchError: a worker ended that nobody killed.
        """
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        for number, worker in enumerate(self.workers):
            code = worker.popen.poll()
            if code is None or number in self._away:
                continue
            if code != STORE_AWAY:
                raise BenchError(f"{worker.name} ended by itself with {code}:\n{tail(worker.log_path, lines=15)}")
            self._lie_low(number, AWAY_S[0])

    def complaints(self) -> Counter[str]:
        """Count the service's own events that the workers warned of in all their lives, whatever the reasons were.

        What Celery says of a broker that is gone is left out: it is as long as it is expected.
        """
        found = Counter[str]()
        for what, times in sum((worker.complaints() for worker in self.workers), Counter[str]()).items():
            event = what.split(": ")[1]
            if _EVENT.fullmatch(event):
                found[event] += times
        return found

    def close(self) -> None:
        """End the workers at once."""
        for worker in self.workers:
            worker.kill()

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), action))

    def _kill(self, kill: Kill) -> None:
        """Kill one by SIGKILL; what is away just then, a little later."""
        if self._strike(kill):
            self.killed.append(Killed(time.time(), kill.what, round(kill.away_s, 2)))
        else:
            self._later(POSTPONED_S, partial(self._kill, kill))

    def _strike(self, kill: Kill) -> bool:
        if kill.what == "Valkey":
            if self.valkey.process.poll() is not None:
                return False
            self.valkey.kill()
            self._later(kill.away_s, self.valkey.start)
            return True
        worker = self.workers[kill.worker]
        if worker.popen.poll() is not None:
            return False
        worker.kill()
        self._lie_low(kill.worker, kill.away_s)
        return True

    def _lie_low(self, number: int, away_s: float) -> None:
        self._away.add(number)
        self._later(away_s, partial(self._bring_back, number))

    def _bring_back(self, number: int) -> None:
        self.workers[number] = self._start_worker(number)
        self._away.discard(number)
