"""Leases that this process holds: renewed in bulk, and lost ones stop the work under them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from darkroom.errors import StaleLeaseError
from darkroom.telemetry.logs import get_logger
from darkroom.timers import Timers

LEASE_MS = 10_000
RENEW_EVERY_S = 3.0
log = get_logger(__name__)


class Leases:
    """What this process works on under a renewed lease."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._held: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._lost: set[str] = set()

    @asynccontextmanager
    async def hold(self, member: str, lease: int) -> AsyncIterator[None]:
        """Keep a lease renewed while the body runs.

        Raises:
            StaleLeaseError: somebody else took it over; the body was cancelled.
        """
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a lease is held by a task")
        self._held[member] = (lease, task)
        try:
            yield
        except asyncio.CancelledError:
            if member not in self._lost:
                raise
            task.uncancel()
            raise StaleLeaseError(member) from None
        finally:
            self._lost.discard(member)
            if self._held.get(member) == (lease, task):
                del self._held[member]

    async def run(self) -> None:
        """Renew until cancelled. While Redis is away leases may lapse; the fences then stop their holders."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            held = {member: lease for member, (lease, _) in self._held.items()}
            try:
                lost = await self._timers.renew(held, lease_ms=LEASE_MS)
            except RedisError as error:
                log.warning("leases.not_renewed", held=len(held), error=str(error))
                continue
            for member in lost:
                lease, task = self._held.get(member, (None, None))
                if task is not None and lease == held[member]:  # meanwhile it may be held under a new one
                    log.warning("lease.lost", member=member)
                    self._lost.add(member)
                    task.cancel()
