"""The right to look for a lane's lost sends: one holder in the whole fleet, for as long as it takes."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from darkroom.store.attempts import AttemptStore
from darkroom.telemetry.logs import get_logger

HOLD_MS = 15_000
RENEW_EVERY_S = 4.0
PAUSE_MS = 2_000
"""Between two sweeps of a lane, however many sends are lost."""

log = get_logger(__name__)


class SweepLostError(Exception):
    """Somebody else has taken the sweep over: stop quietly."""


@asynccontextmanager
async def hold_sweep(attempts: AttemptStore, lane: str) -> AsyncIterator[bool]:
    """Hold the lane's sweep while the body runs, however slowly upstream answers; False: somebody else has it.

    Raises:
        SweepLostError: it could not be renewed in time and somebody else has taken it; the body was cancelled.
    """
    mark, task = secrets.token_hex(8), asyncio.current_task()
    if task is None:
        raise AssertionError("a sweep is held by a task")
    if not await attempts.claim_sweep(lane, mark, hold_ms=HOLD_MS):
        yield False
        return
    lost = asyncio.Event()

    async def renew() -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                held = await attempts.claim_sweep(lane, mark, hold_ms=HOLD_MS)
            except RedisError as error:
                log.warning("sweep.not_renewed", lane=lane, error=str(error))
                continue
            if not held:
                lost.set()
                task.cancel()
                return

    renewing = asyncio.create_task(renew())
    try:
        yield True
    except asyncio.CancelledError:
        if not lost.is_set():
            raise
        task.uncancel()
        raise SweepLostError from None
    finally:
        renewing.cancel()
        await attempts.end_sweep(lane, mark, pause_ms=PAUSE_MS)
