"""A loop that a process needs outlives whatever ends it by mistake."""

import asyncio
from collections.abc import Callable

import pytest

from darkroom.background import MOST_FAILURES, run_for_good
from worker.batching import Batcher


class Loop:
    """Ends in one way after the other, each made when it is run; then it waits for ever."""

    def __init__(self, *ends: Callable[[], None]) -> None:
        self.ends = list(ends)
        self.waits = asyncio.Event()
        self.runs = 0

    async def run(self) -> None:
        """End in the next way."""
        self.runs += 1
        if self.ends:
            return self.ends.pop(0)()
        self.waits.set()
        await asyncio.Event().wait()


def cut_off() -> None:
    """Do as a timeout that fires together with its answer: cancel, and have nobody meant."""
    raise asyncio.CancelledError


def fail() -> None:
    raise RuntimeError("broken")


async def test_a_loop_that_was_cut_off_or_failed_is_started_again_and_a_cancelled_one_is_not() -> None:
    loop = Loop(cut_off, fail, cut_off)
    task = asyncio.create_task(run_for_good("loop", loop.run, pause_s=0))
    async with asyncio.timeout(10):
        await loop.waits.wait()
    assert loop.runs == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loop.runs == 4


async def test_a_loop_that_only_fails_takes_its_process_down() -> None:
    loop = Loop(*[fail] * MOST_FAILURES)
    with pytest.raises(RuntimeError, match="broken"):
        await run_for_good("loop", loop.run, pause_s=0)
    assert loop.runs == MOST_FAILURES


async def test_a_loop_that_returns_has_ended() -> None:
    await run_for_good("loop", Loop(lambda: None).run, pause_s=0)


async def test_a_batch_that_was_cut_off_is_dropped_and_the_next_one_is_handled() -> None:
    handled: list[list[str]] = []

    async def handle(items: list[str]) -> None:
        handled.append(items)
        if len(handled) == 1:
            cut_off()

    batcher = Batcher[str]("items", handle, most=10)
    task = asyncio.create_task(run_for_good(batcher.name, batcher.run, pause_s=0))
    async with asyncio.timeout(10):
        batcher.add("first")
        await batcher.drained()
        batcher.add("second")
        await batcher.drained()
    assert handled == [["first"], ["second"]]
    task.cancel()
