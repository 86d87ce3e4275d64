"""Outputs that wait for their turn are stored one after another, and none is begun by a worker that is leaving."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.store.attempts import Ticket
from worker.stages import store as module
from worker.stages.store import store

TICKET = Ticket("job_1", 1, 1)


class Attempts:
    """Has nothing to store, and notes who asked."""

    def __init__(self) -> None:
        self.claimed: list[Ticket] = []
        self.brought_back: list[Ticket] = []

    async def claim_store(self, ticket: Ticket, *, lease_ms: int) -> None:
        """Say that the ticket is stale."""
        assert lease_ms > 0
        self.claimed.append(ticket)

    async def bring_back(self, ticket: Ticket, *, delay_ms: int) -> None:
        """Take it back."""
        assert delay_ms > 0
        self.brought_back.append(ticket)


@pytest.fixture
async def ctx() -> Any:
    return SimpleNamespace(attempts=Attempts(), stores=asyncio.Semaphore(0), waiting_stores=set())


async def waiting(ctx: Any, ticket: Ticket = TICKET) -> asyncio.Task[None]:
    task = asyncio.create_task(store(ctx, ticket))
    await asyncio.sleep(0)
    assert ticket in ctx.waiting_stores
    return task


async def test_a_ticket_gets_its_turn_once_however_often_it_was_called_for(ctx: Any) -> None:
    task = await waiting(ctx)
    await store(ctx, TICKET)
    ctx.stores.release()
    await task
    assert ctx.attempts.claimed == [TICKET]
    assert not ctx.stores.locked(), "its place is free again"


async def test_what_waits_in_a_worker_that_leaves_is_left_to_others(ctx: Any) -> None:
    task = await waiting(ctx)
    ctx.waiting_stores.clear()
    ctx.stores.release()
    await task
    assert ctx.attempts.claimed == []
    assert not ctx.stores.locked()


async def test_what_does_not_fit_is_left_to_the_due_set(ctx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MOST", 0)
    task = await waiting(ctx)
    other = Ticket("job_2", 1, 1)
    await store(ctx, other)
    assert ctx.attempts.brought_back == [other]
    ctx.stores.release()
    await task
