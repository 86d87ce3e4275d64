"""How a side gets its task and tells what it took. Standard library alone: the sides run in two environments."""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any


def task() -> dict[str, Any]:
    """Read the task from standard input."""
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    return given


class Taking:
    """Takes the time of a block: seconds, and CPU seconds of this process and of its children that have ended."""

    def __enter__(self) -> "Taking":
        self._began, self._used = time.perf_counter(), _cpu_s()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds, self.cpu_s = time.perf_counter() - self._began, _cpu_s() - self._used

    def tell(self, done: int) -> None:
        """Say how much was done, and stay until nobody looks at this process any more."""
        print(json.dumps({"done": done, "seconds": self.seconds, "cpu_s": self.cpu_s}), flush=True)
        sys.stdin.read()


async def repeat(step: Callable[[], Awaitable[int]], *, at_once: int, seconds: float, warm_up_s: float) -> None:
    """Let so many repeat a step, each beginning the next when it has done one, and tell how much all did meanwhile.

    A step gives how much it did. What is done in the warm-up does not count.
    """

    async def until(end: float) -> int:
        done = 0
        while time.monotonic() < end:
            done += await step()
        return done

    async def all_for(seconds: float) -> int:
        end = time.monotonic() + seconds
        return sum(await asyncio.gather(*(until(end) for _ in range(at_once))))

    await all_for(warm_up_s)
    with Taking() as taking:
        done = await all_for(seconds)
    taking.tell(done)


def _cpu_s() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))
