"""Waiting for a condition instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 20.0
_LONGEST_PAUSE_S = 0.1


def wait_until(condition: Callable[[], T], timeout_s: float = DEFAULT_TIMEOUT_S, *, what: str = "") -> T:
    """Return the condition's first true value; fail the test if there is none within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.002
    while not (value := condition()):
        _give_up_after(deadline, condition, timeout_s, what)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    return value


async def wait_until_async(
    condition: Callable[[], T | Awaitable[T]], timeout_s: float = DEFAULT_TIMEOUT_S, *, what: str = ""
) -> T:
    """Do as `wait_until` does without blocking the loop; the condition may be a coroutine function."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.002
    while True:
        answer = condition()
        value: T = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        _give_up_after(deadline, condition, timeout_s, what)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def _give_up_after(deadline: float, condition: object, timeout_s: float, what: str) -> None:
    if time.monotonic() > deadline:
        name = what or getattr(condition, "__qualname__", repr(condition))
        raise AssertionError(f"waited {timeout_s:g} s in vain for: {name}")
