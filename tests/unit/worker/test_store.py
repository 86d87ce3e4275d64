"""What waits for its turn to be stored waits once, however often it was called for."""

import asyncio
from types import SimpleNamespace
from typing import Any

from darkroom.store.attempts import Ticket
from tests.support.waiting import wait_until_async
from worker.stages.store import store_chunk

TICKET = Ticket("job_1", 1, 1)


class Busy:
    """A worker all of whose turns are taken, and what it claimed."""

    def __init__(self) -> None:
        self.claimed: list[Ticket] = []
        self.stores = asyncio.Semaphore(0)
        self.waiting_stores: set[Ticket] = set()

    async def claim_store(self, ticket: Ticket, **_: Any) -> None:
        """Note it, and be too late for it."""
        self.claimed.append(ticket)


async def test_a_ticket_that_waits_already_is_not_taken_in_again() -> None:
    busy = Busy()
    ctx: Any = SimpleNamespace(stores=busy.stores, waiting_stores=busy.waiting_stores, attempts=busy)
    first = asyncio.create_task(store_chunk(ctx, [TICKET]))
    await wait_until_async(lambda: TICKET in busy.waiting_stores)
    await store_chunk(ctx, [TICKET])
    busy.stores.release()
    await first
    assert busy.claimed == [TICKET]
    assert busy.waiting_stores == set()
