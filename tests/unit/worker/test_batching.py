"""Calls are gathered while there are few, and never held back while there are many."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from worker.batching import Batcher

LONG_S = 3_600.0


@asynccontextmanager
async def running(
    make: Callable[[list[list[int]]], Batcher[int]],
) -> AsyncIterator[tuple[Batcher[int], list[list[int]]]]:
    """Give a batcher that runs, and what it has handled."""
    handled: list[list[int]] = []
    batcher = make(handled)
    task = asyncio.create_task(batcher.run())
    yield batcher, handled
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def gathering(keep: int = 10_000) -> Callable[[list[list[int]]], Batcher[int]]:
    """Make a batcher of twos that pauses for longer than any test."""

    def make(handled: list[list[int]]) -> Batcher[int]:
        async def handle(batch: list[int]) -> None:
            handled.append(batch)

        return Batcher("numbers", handle, most=2, keep=keep, pause_s=LONG_S)

    return make


async def test_full_batches_follow_each_other_at_once() -> None:
    async with running(gathering()) as (batcher, handled), asyncio.timeout(20):
        for number in range(7):
            batcher.add(number)
        await batcher.drained()
        assert handled == [[0, 1], [2, 3], [4, 5], [6]]


async def test_after_one_that_is_not_full_the_next_one_waits_for_more() -> None:
    async with running(gathering()) as (batcher, handled):
        batcher.add(0)
        await batcher.drained()
        batcher.add(1)
        for _ in range(10):
            await asyncio.sleep(0)
        assert handled == [[0]]


async def test_what_has_no_room_is_dropped_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    async with running(gathering(keep=3)) as (batcher, handled), asyncio.timeout(20):
        for number in range(5):
            batcher.add(number)
        assert batcher.room == 0
        await batcher.drained()
        assert handled == [[0, 1], [2]]
        assert batcher.room == 3
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "batch.dropped" in line]
    assert "items=2" in line
