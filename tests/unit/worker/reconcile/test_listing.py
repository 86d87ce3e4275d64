"""A listing proves something only when all of it was read, at the right time of upstream's clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from darkroom.store import keys
from darkroom.upstream.errors import UpstreamUnavailableError
from darkroom.upstream.outcomes import ListPage, Prediction, PredictionInput
from worker.stages.reconcile.listing import PAD_MS, Lister
from worker.stages.reconcile.open_sends import wanted_name

NOW_MS = 1_700_000_000_000
WINDOW = [(NOW_MS - 1_000, NOW_MS)]


def prediction(name: str, *, at_ms: int = NOW_MS, prompt: str | None = "fox") -> Prediction:
    created = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
    asked = PredictionInput(prompt, "2048*2048", 1) if prompt else None
    return Prediction(id=name, model="m", status="created", created_at=created, input=asked)


@dataclass
class Upstream:
    """Answers with pages as told."""

    pages: list[ListPage]
    ahead: timedelta = timedelta()
    owned: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def list_predictions(self, **asked: Any) -> ListPage:
        """Give the next page, the first again after the last."""
        self.asked.append(asked)
        return self.pages[asked["page"] - 1]

    def lister(self, redis: FakeAsyncRedis) -> Lister:
        """Make a lister on it."""
        clock = SimpleNamespace(now_ms=lambda: NOW_MS)
        return Lister(SimpleNamespace(upstream=self, redis=redis, clock=clock))  # type: ignore[arg-type]


def page(*items: Prediction, last: bool = True, complete: bool = True, date_ms: int | None = NOW_MS) -> ListPage:
    date = datetime.fromtimestamp(date_ms / 1000, UTC) if date_ms is not None else None
    return ListPage(items=items, total=None, server_date=date, complete=complete, is_last=last)


async def listed(upstream: Upstream) -> Any:
    async with FakeAsyncRedis(decode_responses=True) as redis:
        for prediction_id, owner in upstream.owned.items():
            await redis.set(keys.prediction(prediction_id), owner)
        return await upstream.lister(redis).list_orphans(WINDOW, interesting=lambda _: True)


async def test_every_page_is_read_and_what_somebody_owns_is_left_out() -> None:
    upstream = Upstream(
        [page(prediction("p1"), last=False), page(prediction("p2"), prediction("p3"))], owned={"p2": "j:1"}
    )
    listing = await listed(upstream)
    assert [orphan.prediction_id for orphan in listing.orphans] == ["p1", "p3"]
    assert listing.orphans[0].wanted == wanted_name("fox", "2048*2048", 1)


async def test_what_moves_to_the_next_page_meanwhile_is_one_orphan() -> None:
    upstream = Upstream([page(prediction("p1"), last=False), page(prediction("p1"), prediction("p2"))])
    assert [orphan.prediction_id for orphan in (await listed(upstream)).orphans] == ["p1", "p2"]


async def test_a_page_that_could_not_be_read_whole_proves_nothing() -> None:
    with pytest.raises(UpstreamUnavailableError):
        await listed(Upstream([page(prediction("p1"), last=False), page(complete=False)]))


async def test_the_time_in_question_is_asked_for_in_upstreams_own_time() -> None:
    ahead_ms = 3_600_000
    upstream = Upstream([page(prediction("p1", at_ms=NOW_MS + ahead_ms), date_ms=NOW_MS + ahead_ms)])
    listing = await listed(upstream)
    first, second = upstream.asked
    assert first["created_after"] == datetime.fromtimestamp((NOW_MS - 1_000 - PAD_MS) / 1000, UTC)
    assert second["created_after"] - first["created_after"] == timedelta(hours=1)
    assert second["created_before"] == datetime.fromtimestamp((NOW_MS + PAD_MS + ahead_ms) / 1000, UTC)
    assert (listing.orphans[0].created_ms, listing.clock_known) == (NOW_MS, True)


async def test_without_its_clock_upstreams_time_is_taken_as_ours_and_said_to_be_unknown() -> None:
    listing = await listed(Upstream([page(prediction("p1"), date_ms=None)]))
    assert (listing.orphans[0].created_ms, listing.clock_known) == (NOW_MS, False)


async def test_what_does_not_say_all_it_was_asked_for_has_no_name() -> None:
    part = Prediction(id="p2", model="m", status="created", input=PredictionInput("fox", None, 1))
    listing = await listed(Upstream([page(prediction("p1", prompt=None), part)]))
    assert [(orphan.wanted, orphan.prediction_id) for orphan in listing.orphans] == [(None, "p1"), (None, "p2")]
    assert listing.orphans[1].created_ms is None
