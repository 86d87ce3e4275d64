"""Which predictions of a lost past may be given to waiting jobs, and which may be somebody's."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store.attempts import Ticket
from tests.support.stores import Store, fake_store
from worker.stages.reconcile.listing import Orphan
from worker.stages.reconcile.open_sends import OpenSend, wanted_name
from worker.stages.server_change import Shares, give, share_out

FOX, OWL = (wanted_name(prompt, "2048*2048", 1) for prompt in ("a fox", "an owl"))


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    async with fake_store(monkeypatch.setattr) as it:
        await it.limits()
        yield it


async def given(store: Store, **shares: Any) -> int | None:
    ctx: Any = SimpleNamespace(redis=store.redis, attempts=store.attempts)
    return await give(ctx, DEFAULT_LANE, Shares(**shares), 1)


def orphan(name: str, wanted: str | None = "fox", created_ms: int | None = 5) -> Orphan:
    return Orphan(name, wanted, created_ms)


def send(state: str, wanted: str = "fox") -> OpenSend:
    unknown_ms = None if state == "submitting" else 9
    return OpenSend(Ticket("job_1", 1, 1), state, 1, wanted, 1, unknown_ms, "", "k")


def test_what_nobody_can_claim_is_given_oldest_first() -> None:
    shares = share_out([orphan("late", created_ms=9), orphan("early", created_ms=1), orphan("other", "owl")], [])
    assert {wanted: [item.prediction_id for item in found] for wanted, found in shares.named.items()} == {
        "fox": ["early", "late"],
        "owl": ["other"],
    }
    assert (shares.nameless, shares.wait_for) == ([], "")


def test_a_lost_send_keeps_its_own() -> None:
    for state in ("unconfirmed", "failed"):
        assert share_out([orphan("p1")], [send(state)]).named == {}
        shares = share_out([orphan("p1"), orphan("p2", created_ms=6)], [send(state)])
        assert [item.prediction_id for item in shares.named["fox"]] == ["p2"]


def test_what_an_equal_request_being_sent_may_own_is_given_to_nobody() -> None:
    shares = share_out([orphan("p1"), orphan("p2", "owl")], [send("submitting")])
    assert (shares.contested, set(shares.named)) == ({"fox"}, {"owl"})


def test_what_says_nothing_is_an_operators_once_no_lost_send_can_claim_it() -> None:
    assert share_out([orphan("p1", None)], [send("unconfirmed", "owl")]).wait_for
    shares = share_out([orphan("p1", None)], [send("failed", "owl")])
    assert ([item.prediction_id for item in shares.nameless], shares.wait_for) == (["p1"], "")


async def test_who_waits_for_the_same_gets_it_first_come_first(store: Store) -> None:
    jobs = [await store.post(tenant) for tenant in ("b", "a", "b")]
    other = await store.post(prompt="an owl")
    assert await given(store, named={FOX: [orphan("p1", FOX), orphan("p2", FOX)], "none": [orphan("p3", "none")]}) == 2
    assert [await store.status(job_id) for job_id in [*jobs, other]] == ["generating", "generating", "queued", "queued"]
    assert (await store.read(jobs[0])).attempt["prediction_id"] == "p1"


async def test_one_that_has_found_its_owner_meanwhile_costs_no_job_its_own(store: Store) -> None:
    owner = await store.generating()
    waiting = await store.post()
    assert await given(store, named={FOX: [orphan(f"p-{owner.job_id}", FOX), orphan("p2", FOX)]}) == 1
    assert (await store.read(waiting)).attempt["prediction_id"] == "p2"


async def test_what_is_contested_is_waited_for_only_where_somebody_waits_for_the_same(store: Store) -> None:
    job_id = await store.post()
    assert await given(store, contested={FOX}, named={}) is None
    assert await given(store, contested={OWL}, named={FOX: [orphan("p1", FOX)]}) == 1
    assert await store.status(job_id) == "generating"


async def test_an_admitted_job_is_waited_for(store: Store) -> None:
    await store.admitted()
    assert await given(store, named={FOX: [orphan("p1", FOX)]}) is None
