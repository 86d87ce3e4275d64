"""An account without a balance call: one job at a time finds out whether there is money again."""

import pytest

from darkroom.line.lanes import DEFAULT_LANE, LaneState
from darkroom.store import keys
from darkroom.store.attempts import Ticket
from tests.support.stores import Store


async def lane(store: Store) -> LaneState:
    """Give the lane as it is."""
    [state] = await store.lanes.states()
    return state


async def broke(store: Store, jobs: int = 3) -> None:
    """Let some jobs wait for a lane without balance."""
    for _ in range(jobs):
        await store.post()
    await store.lanes.pause(DEFAULT_LANE, "balance", probe_s=15)


async def trial(store: Store) -> Ticket:
    """Let the one job of a trial be sent."""
    assert await store.lanes.try_one(DEFAULT_LANE, probe_s=15)
    admission = await store.admit()
    [ticket] = admission.tickets
    assert admission.reason == "paused"
    await store.begin(ticket)
    return ticket


async def delay_s(store: Store) -> float:
    """Give when the lane is tried next."""
    seconds, microseconds = store.client.time()
    return ((await lane(store)).resumes_at_ms or 0) / 1000 - seconds - microseconds / 1_000_000


async def test_trial_lets_exactly_one_job_go(store: Store) -> None:
    await broke(store)
    await trial(store)
    assert (await store.admit()).tickets == []
    assert (await lane(store)).state == "paused"


async def test_trial_that_upstream_takes_opens_the_lane(store: Store) -> None:
    await broke(store)
    ticket = await trial(store)
    await store.accept(ticket, "p1")
    assert (await lane(store)).state == "open"
    assert len((await store.admit()).tickets) == 2
    await store.lanes.pause(DEFAULT_LANE, "balance", probe_s=15)
    assert 14 < await delay_s(store) <= 15, "it starts anew"


async def test_each_trial_in_vain_doubles_the_time_until_the_next_up_to_ten_minutes(store: Store) -> None:
    await broke(store)
    delays = []
    for _ in range(7):
        ticket = await trial(store)
        await store.lanes.pause(DEFAULT_LANE, "balance", probe_s=15)
        delays.append(round(await delay_s(store)))
        await store.attempts.returned(ticket, "not_now")
        store.pass_the_window()
    assert delays == [30, 60, 120, 240, 480, 600, 600]


async def test_trial_that_nobody_took_is_none(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "balance", probe_s=15)
    for _ in range(5):
        assert await store.lanes.try_one(DEFAULT_LANE, probe_s=15)
    assert 29 < await delay_s(store) <= 30


async def test_send_that_began_before_the_pause_proves_nothing(store: Store) -> None:
    earlier = await store.submitting()
    await broke(store)
    await store.accept(earlier, "p-earlier")
    assert (await lane(store)).reason == "balance"
    await trial(store)
    assert (await lane(store)).reason == "balance"


@pytest.mark.parametrize("reason", ["operator", "auth"])
async def test_pause_for_another_reason_ends_a_trial(store: Store, reason: str) -> None:
    await broke(store)
    ticket = await trial(store)
    await store.lanes.pause(DEFAULT_LANE, reason, probe_s=15)  # type: ignore[arg-type]
    await store.accept(ticket, "p1")
    assert ((await lane(store)).state, (await lane(store)).reason) == ("paused", reason)
    assert not await store.lanes.try_one(DEFAULT_LANE, probe_s=15)


async def test_trial_admitted_before_an_operators_pause_is_not_sent(store: Store) -> None:
    await broke(store)
    await store.lanes.try_one(DEFAULT_LANE, probe_s=15)
    [ticket] = (await store.admit()).tickets
    await store.lanes.pause(DEFAULT_LANE, "operator")
    assert await store.attempts.begin_submit(ticket, lease_ms=1, sync_lease_ms=1, key="k") is None
    assert await store.status(ticket.job_id) == "queued"


async def test_trial_in_which_nothing_fits_leaves_the_planned_one_alone(store: Store) -> None:
    await store.limits(rate=4)
    await store.generating(max_images=4)
    await broke(store)
    await store.lanes.try_one(DEFAULT_LANE, probe_s=300)
    planned = store.cell().at(keys.DUE)["l:default"]
    assert (await store.admit()).reason in ("rate", "spacing")
    assert store.cell().at(keys.DUE)["l:default"] == planned


@pytest.mark.parametrize("reason", ["balance", "auth", "upstream"])
async def test_account_that_looked_fine_and_was_not_is_asked_for_ever_later(store: Store, reason: str) -> None:
    await store.post()
    delays = []
    for _ in range(3):
        await store.lanes.pause(DEFAULT_LANE, reason, probe_s=15)
        delays.append(round(await delay_s(store)))
        assert await store.lanes.reopen(DEFAULT_LANE, reason)
    assert delays == [15, 30, 60]
    [ticket] = (await store.admit()).tickets
    await store.begin(ticket)
    await store.accept(ticket, "p1")
    await store.lanes.pause(DEFAULT_LANE, reason, probe_s=15)
    assert round(await delay_s(store)) == 15


async def test_lane_that_paused_for_another_reason_meanwhile_stays_paused(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "upstream", probe_s=15)
    await store.lanes.pause(DEFAULT_LANE, "balance", probe_s=15)
    assert not await store.lanes.reopen(DEFAULT_LANE, "upstream")
    assert (await lane(store)).reason == "balance"


async def test_full_bucket_replaces_no_other_reason(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
    assert not await store.lanes.pause(DEFAULT_LANE, "storage", probe_s=1)
    assert (await lane(store)).reason == "auth"
    assert await store.lanes.reopen(DEFAULT_LANE, "auth")
    assert await store.lanes.pause(DEFAULT_LANE, "storage", probe_s=1)


async def test_three_jobs_in_a_row_that_the_bucket_refused_are_too_many(store: Store) -> None:
    report = store.lanes.report_bucket_failure
    assert not await report(DEFAULT_LANE, "job_1")
    assert not await report(DEFAULT_LANE, "job_2")
    assert not await report(DEFAULT_LANE, "job_2")
    stored = await store.storing()
    await store.complete(stored)
    assert not await report(DEFAULT_LANE, "job_3")
    assert not await report(DEFAULT_LANE, "job_1")
    assert not await store.lanes.report_failure(DEFAULT_LANE, "job_4")
    assert await report(DEFAULT_LANE, "job_2")


async def test_line_names_the_price_of_the_job_at_its_turn(store: Store) -> None:
    assert await store.lanes.images_at_turn() is None
    await store.post(max_images=2)
    await store.post(priority="high", max_images=7)
    assert await store.lanes.images_at_turn() == 7
