"""Looks and callbacks: a look that one has made stale is in nobody's way, and silence is said once."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis as Redis
from fakeredis import FakeServer

from darkroom.store import keys
from darkroom.store.attempts import Callback, Ticket
from darkroom.timers import DueAttempt
from darkroom.upstream.outcomes import LookOutcome, Pending, Prediction
from tests.support.waiting import wait_until_async
from worker import looks as module
from worker.durations import ENOUGH, KEPT, Usual
from worker.looks import Looks


class Upstream:
    """Answers looks once it may."""

    key_fingerprint = "k"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()

    async def look(self, prediction_id: str) -> LookOutcome:
        """Wait, and find it unfinished."""
        self.asked.append(prediction_id)
        await self.may_answer.wait()
        return Pending(Prediction(id=prediction_id, model="m", status="processing"))


def entry(lease: int, callback: Callback = "") -> DueAttempt:
    return DueAttempt(
        Ticket("job_1", 1, lease), "generating", "p1", 1_000, 0, True, "default", 1_000, 1_000, callback=callback
    )


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def looks(upstream: Upstream) -> Looks:
    areas = SimpleNamespace(
        upstream=SimpleNamespace(poll_min_s=2, poll_max_s=30, generation_timeout_s=3600, max_attempts=2),
    )
    context: Any = SimpleNamespace(
        settings=areas,
        upstream=upstream,
        clock=SimpleNamespace(now_ms=lambda: 2_000),
        redis=Redis(decode_responses=True),
    )
    return Looks(context)


async def test_a_look_under_way_holds_up_no_newer_one_and_no_lease_is_looked_at_twice(
    looks: Looks, upstream: Upstream
) -> None:
    for lease in (1, 1, 2, 2):
        looks.start(entry(lease))
    await asyncio.sleep(0)
    assert upstream.asked == ["p1", "p1"]
    under_way = list(looks._looking.values())
    upstream.may_answer.set()
    await asyncio.gather(*under_way)
    assert not looks._looking


async def test_callbacks_that_stop_and_come_back_are_said_once(
    looks: Looks, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        module,
        "log",
        SimpleNamespace(warning=lambda event, **_: said.append(event), info=lambda event, **_: said.append(event)),
    )
    upstream.may_answer.set()
    states: list[Callback] = ["awaited", "", "doubted", "", "doubted", "awaited", "awaited"]
    for lease, callback in enumerate(states):
        looks.start(entry(lease, callback))
    await asyncio.gather(*looks._looking.values())
    assert said == ["callbacks.missing", "callbacks.back"]


async def test_a_worker_that_starts_knows_how_long_generations_took_before_it(looks: Looks) -> None:
    await looks._ctx.redis.rpush(keys.DURATIONS, *[30_000] * KEPT, *[5_000] * ENOUGH, *[8_000] * (KEPT - ENOUGH))
    await run_until(looks, lambda: looks._durations.usual() is not None)
    assert looks._durations.usual() == Usual(5_000, 8_000)


async def test_looks_begin_without_a_store_that_tells(looks: Looks) -> None:
    cut_off = FakeServer()
    cut_off.connected = False
    looks._ctx.redis = Redis(server=cut_off)  # type: ignore[misc]
    applied: list[object] = []
    looks._looked._handle = applied.append  # type: ignore[assignment]
    looks._looked.add(object())  # type: ignore[arg-type]
    await run_until(looks, lambda: bool(applied))


async def run_until(looks: Looks, done: Callable[[], bool]) -> None:
    running = asyncio.create_task(looks.run())
    await wait_until_async(done)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("kept", ["soon", None])
async def test_a_list_that_can_not_be_read_keeps_no_look_from_being_applied(looks: Looks, kept: str | None) -> None:
    if kept is None:
        await looks._ctx.redis.set(keys.DURATIONS, "no list")
    else:
        await looks._ctx.redis.rpush(keys.DURATIONS, kept)
    applied: list[object] = []
    looks._looked._handle = applied.append  # type: ignore[assignment]
    looks._looked.add(object())  # type: ignore[arg-type]
    await run_until(looks, lambda: bool(applied))
