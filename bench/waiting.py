"""Waiting for something another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

from bench.figures import BenchError

T = TypeVar("T")


def wait_for(condition: Callable[[], T], timeout_s: float, *, what: str, pause_s: float = 0.01) -> T:
    """Return the condition's first true value, asked for every `pause_s`.

    Raises:
        BenchError: there was none within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise BenchError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(pause_s)
    return value
