"""Which predictions of a lost past may be given to waiting jobs, and which may be somebody's."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.line.lanes import DEFAULT_LANE, ServerChange
from darkroom.store import keys
from darkroom.store.attempts import Ticket
from darkroom.upstream.outcomes import ListPage, Prediction, PredictionInput, Submission
from tests.support.stores import UNSETTLED, Store, fake_store
from worker.context import ServerClock
from worker.stages import server_change
from worker.stages.reconcile.listing import PAD_MS, Orphan
from worker.stages.reconcile.open_sends import OpenSend, wanted_name
from worker.stages.server_change import Shares, check_server, give, share_out
from worker.stages.submit import LEASE_MARGIN_S

FOX, OWL = (wanted_name(prompt, "2048*2048", 1) for prompt in ("a fox", "an owl"))
WINDOW_S, PLAIN_S, SYNC_S = 30, 20, 100
SETTLED_S, SYNC_SETTLED_S = (longest_s + LEASE_MARGIN_S + WINDOW_S for longest_s in (PLAIN_S, SYNC_S))
DAY_MS = 86_400_000


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


def send(state: str, wanted: str = "fox", sent_ms: int = 1) -> OpenSend:
    unknown_ms = None if state == "submitting" else sent_ms + 8
    return OpenSend(Ticket("job_1", 1, 1), state, 1, wanted, sent_ms, unknown_ms, "", "k")


@dataclass
class Changed:
    """A context on a server that the lane does not know, and an upstream that made `listed`; counts what happens."""

    store: Store
    passed_s: float = 10_000
    listed: list[Prediction] = field(default_factory=list)
    listings: int = 0
    known: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis, self.attempts, self.clock = self.store.redis, self.store.attempts, ServerClock()
        self.lanes = self.upstream = self.publisher = self
        self.settings = SimpleNamespace(upstream=SimpleNamespace(reconcile_window_s=WINDOW_S))

    async def check(self) -> bool:
        """Look into the change; True when the lane may go on."""
        await self.clock.read(self.redis)
        context: Any = self
        await check_server(context, DEFAULT_LANE)
        self.store.client.delete(keys.sweep(DEFAULT_LANE))
        return self.known == ["server-2"]

    async def server_change(self, _: str) -> ServerChange:
        now_ms = self.clock.now_ms()
        return ServerChange("server-2", now_ms - 3_600_000, now_ms - int(self.passed_s * 1000), now_ms)

    async def server_known(self, _: str, server: str) -> bool:
        self.known.append(server)
        return True

    async def list_predictions(self, **_: Any) -> ListPage:
        self.listings += 1
        return ListPage(tuple(self.listed), len(self.listed), datetime.now(UTC), complete=True, is_last=True)

    def submit_deadline_s(self, submission: Submission) -> float:
        return SYNC_S if submission.enable_sync_mode else PLAIN_S

    def dispatch(self) -> None:
        """Nothing is to be dispatched to."""


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def loses(_: Any) -> bool:
        return False

    monkeypatch.setattr(server_change, "keeps_every_write", loses)


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


@pytest.mark.parametrize("state", ["unconfirmed", "failed"])
def test_a_lost_send_claims_nothing_of_another_time(state: str) -> None:
    one = send(state, sent_ms=DAY_MS)
    for created_ms, is_its_own in {
        DAY_MS - PAD_MS - 1: False,
        DAY_MS - PAD_MS: True,
        DAY_MS + 8 + PAD_MS: True,
        DAY_MS + 9 + PAD_MS: False,
    }.items():
        assert bool(share_out([orphan("p1", created_ms=created_ms)], [one]).named) is not is_its_own
    assert share_out([Orphan("p1", "fox", None)], [one]).named == {}


def test_each_lost_send_is_left_one_of_its_own_time() -> None:
    orphans = [orphan("old", created_ms=5), orphan("new", created_ms=DAY_MS), orphan("newer", created_ms=DAY_MS + 1)]
    shares = share_out(orphans, [send("failed", sent_ms=DAY_MS), send("unconfirmed"), send("failed")])
    assert [item.prediction_id for item in shares.named["fox"]] == ["newer"]
    orphans = [orphan("of both", created_ms=5), orphan("of the later one", created_ms=PAD_MS + 10)]
    assert share_out(orphans, [send("failed", sent_ms=3), send("unconfirmed")]).named == {}


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


def bought(prompt: str = "a fox") -> Prediction:
    asked = PredictionInput(prompt, "2048*2048", 1)
    return Prediction(id="p1", model="m", status="completed", created_at=datetime.now(UTC).isoformat(), input=asked)


async def test_a_send_left_open_long_ago_hides_no_purchase(store: Store, lossy: None) -> None:
    old = await store.unconfirmed()
    await store.attempts.failed(old, UNSETTLED)
    for name in ("sent_ms", "unknown_ms"):
        store.client.hincrby(keys.attempt(old.job_id, 1), name, -DAY_MS)
    job_id = await store.post()
    assert await Changed(store, listed=[bought()]).check()
    assert (await store.read(job_id)).attempt["prediction_id"] == "p1"


async def test_a_listing_decides_once_all_sends_are_over_and_the_list_had_its_window(store: Store, lossy: None) -> None:
    job_id = await store.post()
    changed = Changed(store, SETTLED_S - 0.001, [bought()])
    assert not await changed.check()
    assert (changed.listings, await store.status(job_id)) == (0, "queued")
    changed.passed_s = SETTLED_S
    assert await changed.check()
    assert (changed.listings, await store.status(job_id)) == (1, "generating")


async def test_sends_in_sync_mode_are_waited_for_where_a_job_that_waits_may_be_one(store: Store, lossy: None) -> None:
    job_id = (await store.admitted("b", prompt="an owl", enable_sync_mode=True)).job_id
    await store.post()
    changed = Changed(store, SYNC_SETTLED_S - 0.001, [bought("an owl")])
    assert not await changed.check()
    assert (changed.listings, await store.status(job_id)) == (0, "queued")
    changed.passed_s = SYNC_SETTLED_S
    assert not await changed.check()
    assert changed.listings == 1
    await store.attempts.unadmit([await store.ticket(job_id)])
    assert await changed.check()
    assert await store.status(job_id) == "generating"


async def test_a_server_that_kept_every_write_is_listed_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def keeps(_: Any) -> bool:
        return True

    monkeypatch.setattr(server_change, "keeps_every_write", keeps)
    await store.post(enable_sync_mode=True)
    changed = Changed(store, 0)
    assert await changed.check()
    assert changed.listings == 1
