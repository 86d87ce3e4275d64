"""The poller's share in callbacks: a look that one has made stale is in nobody's way, and silence is said once."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.store.attempts import Callback, Ticket
from darkroom.timers import Due, DueAttempt
from darkroom.upstream.outcomes import LookOutcome, Pending, Prediction
from worker import poller as module
from worker.poller import Poller


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
async def poller(upstream: Upstream) -> Poller:
    areas = SimpleNamespace(
        upstream=SimpleNamespace(poll_min_s=2, poll_max_s=30, generation_timeout_s=3600, max_attempts=2),
        webhooks=SimpleNamespace(retry_schedule_s=(0.0, 1.0)),
    )
    context: Any = SimpleNamespace(
        settings=areas, upstream=upstream, batches=None, clock=SimpleNamespace(now_ms=lambda: 2_000)
    )
    return Poller(context)


async def test_a_look_under_way_holds_up_no_newer_one_and_no_lease_is_looked_at_twice(
    poller: Poller, upstream: Upstream
) -> None:
    for lease in (1, 1, 2, 2):
        poller._start(Due(2_000, None, 0, attempts=[entry(lease)]))
    await asyncio.sleep(0)
    assert upstream.asked == ["p1", "p1"]
    looks = list(poller._looking.values())
    upstream.may_answer.set()
    await asyncio.gather(*looks)
    assert not poller._looking


async def test_callbacks_that_stop_and_come_back_are_said_once(
    poller: Poller, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
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
        poller._start(Due(2_000, None, 0, attempts=[entry(lease, callback)]))
    await asyncio.gather(*poller._looking.values())
    assert said == ["callbacks.missing", "callbacks.back"]
