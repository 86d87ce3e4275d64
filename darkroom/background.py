"""Loops that a process needs for as long as it lives: what ends one by mistake is logged, and it is started again.

A loop can end without anybody having meant it: on Python 3.11 and 3.12 a timeout that fires together with its answer
cancels after its own block. A task group takes such an end for a wish and goes on without the loop.
"""

import asyncio
from collections.abc import Awaitable, Callable

from darkroom.telemetry.logs import get_logger

MOST_FAILURES = 5
"""Failures of one loop, each within `FORGIVEN_AFTER_S` of the one before, after which it can't be helped."""

FORGIVEN_AFTER_S = 60.0
PAUSE_S = 1.0
log = get_logger(__name__)


def is_cancelled() -> bool:
    """Say whether somebody has asked for the current task's end; False: a `CancelledError` in it is nobody's."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def run_for_good(name: str, run: Callable[[], Awaitable[None]], *, pause_s: float = PAUSE_S) -> None:
    """Run a loop until it is cancelled or returns; `run` must be such that it can be called again.

    Raises:
        Exception: what the loop failed with for the fifth time in a row; permanent, the process should go down.
    """
    failures, last_s = 0, 0.0
    while True:
        try:
            await run()
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            log.warning("loop.cut_off", loop=name)
        except Exception:
            now_s = asyncio.get_running_loop().time()
            failures = failures + 1 if now_s - last_s < FORGIVEN_AFTER_S else 1
            last_s = now_s
            if failures >= MOST_FAILURES:
                raise
            log.exception("loop.failed", loop=name, failures=failures)
        else:
            return
        await asyncio.sleep(pause_s)
