"""The poller says by its worker's silence that it stands still."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.timers import Due
from worker import poller as module
from worker.poller import Poller


class Timers:
    """Answers when it may, if it may at all."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[None] = asyncio.Queue()
        self.may_answer = asyncio.Event()
        self.most = 0

    async def lease_due(self, *, most: int, **_: Any) -> Due:
        """Wait, and find nothing due."""
        self.most = most
        self.asked.put_nowait(None)
        await self.may_answer.wait()
        return Due(2_000, None, 0)


async def nothing(*_: Any) -> list[str]:
    """Answer as a store that has kept no durations."""
    return []


@pytest.fixture
async def timers() -> Timers:
    return Timers()


@pytest.fixture
async def poller(timers: Timers) -> Poller:
    areas = SimpleNamespace(
        upstream=SimpleNamespace(poll_min_s=2, poll_max_s=30, generation_timeout_s=3600, max_attempts=2),
        webhooks=SimpleNamespace(retry_schedule_s=(0.0, 1.0)),
        redis=SimpleNamespace(compact_after_s=0),
    )
    context: Any = SimpleNamespace(
        settings=areas,
        upstream=SimpleNamespace(key_fingerprint="k"),
        batches=None,
        clock=SimpleNamespace(set=lambda _: None),
        timers=timers,
        publisher=SimpleNamespace(room=1_000),
        redis=SimpleNamespace(lrange=nothing),
    )
    return Poller(context)


async def test_a_sweep_that_never_ends_is_told_and_one_that_goes_on_is_well(
    poller: Poller, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(module, "LONGEST_S", 0)
    running = asyncio.create_task(poller.run())
    await timers.asked.get()
    assert not poller.stuck
    now_s += module.STUCK_S + 1
    assert poller.stuck, "it has not gone on since"
    timers.may_answer.set()
    await timers.asked.get()
    assert not poller.stuck, "sweeps come again"
    running.cancel()
    await asyncio.wait([running])
    now_s += module.STUCK_S + 1
    await poller.stop()
    assert not poller.stuck, "it has left"


async def test_no_more_is_leased_than_the_publisher_has_room_for_but_looks_always_get_some(
    poller: Poller, timers: Timers
) -> None:
    timers.may_answer.set()
    for room, most in ((10_000, module.SWEEP_MOST), (200, 200), (0, module.SWEEP_LEAST)):
        poller._ctx.publisher.room = room  # type: ignore[misc]
        await poller._sweep()
        assert timers.most == most
