"""How a side gets its task and tells what it took. Standard library alone: the sides run in two environments."""

import json
import resource
import sys
import time
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


def _cpu_s() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))
