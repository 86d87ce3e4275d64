"""What a task's thread learns from the reactor, and that it can do no harm with it."""

import asyncio
from collections.abc import Iterator

import pytest
from celery.app.trace import traceback_clear

from worker.reactor import Reactor, ReactorStoppedError, WorkFailedError


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    running = Reactor()
    running.start()
    yield running
    running.stop()


def test_a_task_learns_how_its_work_failed(reactor: Reactor) -> None:
    async def fail() -> None:
        raise ValueError("no such thing")

    with pytest.raises(WorkFailedError, match="ValueError: no such thing"):
        reactor.hand_over(fail, hold_s=20)


def test_a_worker_that_leaves_takes_up_nothing_and_says_so_of_what_it_cuts_off(reactor: Reactor) -> None:
    started = asyncio.Event()

    async def stuck() -> None:
        started.set()
        await asyncio.Event().wait()

    async def leave() -> None:
        await started.wait()
        await reactor.drain(0)

    leaving = asyncio.run_coroutine_threadsafe(leave(), reactor._loop)
    with pytest.raises(ReactorStoppedError, match="cut off"):
        reactor.hand_over(stuck, hold_s=20)
    leaving.result(20)
    with pytest.raises(ReactorStoppedError, match="leaving"):
        reactor.hand_over(stuck, hold_s=20)


def test_what_celery_does_to_a_failed_task_ends_nothing_else_in_the_reactor(reactor: Reactor) -> None:
    """Before Python 3.13 a coroutine whose frame is cleared while it waits never goes on: the poller stood still."""
    shared = ValueError("two heard of it")
    again: asyncio.Event = asyncio.Event()
    caught: asyncio.Event = asyncio.Event()
    went_on: list[str] = []

    async def bystander() -> None:
        try:
            raise shared
        except ValueError:
            caught.set()
        await again.wait()
        went_on.append("bystander")

    async def fail() -> None:
        await caught.wait()
        raise shared

    waiting = asyncio.run_coroutine_threadsafe(bystander(), reactor._loop)
    with pytest.raises(WorkFailedError) as failed:
        reactor.hand_over(fail, hold_s=20)
    traceback_clear(failed.value)
    reactor._loop.call_soon_threadsafe(again.set)
    waiting.result(20)
    assert went_on == ["bystander"]
