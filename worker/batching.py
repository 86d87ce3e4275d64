"""Gathers single items into batches without waiting for any: what arrives while one batch is handled makes the next."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from darkroom.telemetry.logs import get_logger

Item = TypeVar("Item")
log = get_logger(__name__)


class Batcher(Generic[Item]):
    """Calls `handle` with up to `most` items at a time, one call after another.

    After a call for fewer it pauses for `pause_s`, so that the next one has more to take; a full one is followed at
    once, since what waits behind it would only wait. A failed call drops its items, and past `keep` waiting ones new
    ones are dropped: each of them has an entry in the due set that brings it back.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[Item]], Awaitable[None]],
        *,
        most: int,
        keep: int = 10_000,
        pause_s: float = 0.0,
    ) -> None:
        self.name = name
        self._handle = handle
        self._most = most
        self._keep = keep
        self._pause_s = pause_s
        self._items: list[Item] = []
        self._dropped = 0
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def room(self) -> int:
        """How many items it takes before it drops one."""
        return self._keep - len(self._items)

    def add(self, item: Item) -> None:
        """Take an item; never waits."""
        if not self.room:
            self._dropped += 1
            return
        self._items.append(item)
        self._idle.clear()
        self._filled.set()

    async def drained(self) -> None:
        """Wait until everything that was added has been handled."""
        await self._idle.wait()

    async def run(self) -> None:
        """Handle batches until cancelled."""
        while True:
            await self._filled.wait()
            batch, self._items = self._items[: self._most], self._items[self._most :]
            try:
                await self._handle(batch)
            except Exception:
                log.exception("batch.failed", batch=self.name, items=len(batch))
            finally:
                if not self._items:
                    self._filled.clear()
                    self._idle.set()
            if self._dropped:
                log.warning("batch.dropped", batch=self.name, items=self._dropped)
                self._dropped = 0
            if self._pause_s and len(batch) < self._most:
                await asyncio.sleep(self._pause_s)
