"""Lanes: what pauses admission, what opens it again, and that nobody's pause is forgotten or overruled."""

import pytest

from darkroom.line.lanes import AS_CONFIGURED, DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Ticket
from tests.support.stores import FAILED, HOUR_MS, Store


async def test_paused_lane_admits_nothing_and_says_why(store: Store) -> None:
    await store.post()
    assert await store.lanes.pause(DEFAULT_LANE, "balance", probe_s=15)
    assert (await store.admit()).reason == "paused"
    [state] = await store.lanes.states()
    assert (state.state, state.reason, state.resumes_at_ms is not None) == ("paused", "balance", True)


async def test_pause_is_news_once(store: Store) -> None:
    assert await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
    assert not await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
    assert await store.lanes.pause(DEFAULT_LANE, "balance", probe_s=15)


async def test_operators_pause_stands_until_an_operator_ends_it(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "operator")
    assert not await store.lanes.pause(DEFAULT_LANE, "upstream", probe_s=1)
    assert not await store.lanes.reopen(DEFAULT_LANE, "upstream")
    await store.lanes.probe_again(DEFAULT_LANE, probe_s=1)
    assert [(state.state, state.reason) for state in await store.lanes.states()] == [("paused", "operator")]
    assert await store.lanes.resume(DEFAULT_LANE)
    assert [state.state for state in await store.lanes.states()] == ["open"]


async def test_probe_of_a_lane_that_was_opened_meanwhile_leaves_it_open(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "balance", probe_s=15)
    await store.lanes.resume(DEFAULT_LANE)
    await store.lanes.probe_again(DEFAULT_LANE, probe_s=15)
    assert [state.state for state in await store.lanes.states()] == ["open"]


async def test_probe_that_never_answers_comes_again(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "upstream", probe_s=15)
    assert (await store.sweep("l:default")).lanes == [DEFAULT_LANE]
    assert "l:default" in store.cell().at(keys.DUE)
    assert (await store.sweep("l:default")).lanes == [DEFAULT_LANE]


async def test_timer_of_an_open_or_held_lane_goes_off_once(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "operator")
    assert (await store.sweep("l:default")).lanes == [DEFAULT_LANE]
    assert "l:default" not in store.cell().at(keys.DUE)


async def test_resumed_lane_wakes_the_line(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=1000)
    await store.lanes.resume(DEFAULT_LANE)
    assert (await store.sweep()).lanes == [DEFAULT_LANE]


async def test_three_different_jobs_in_a_row_make_a_failing_upstream(store: Store) -> None:
    report = store.lanes.report_failure
    assert not await report(DEFAULT_LANE, "job_1")
    assert not await report(DEFAULT_LANE, "job_1")
    assert not await report(DEFAULT_LANE, "job_2")
    await store.generating()
    assert not await report(DEFAULT_LANE, "job_3")
    assert not await report(DEFAULT_LANE, "job_1")
    assert await report(DEFAULT_LANE, "job_2")


async def test_long_wait_for_the_rate_does_not_put_off_a_probe(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
    planned = store.cell().at(keys.DUE)["l:default"]
    await store.lanes.slow(DEFAULT_LANE, Ticket("job_1", 1, 1), wait_s=3600, cost=1, send=1)
    assert store.cell().at(keys.DUE)["l:default"] == planned


async def test_time_in_which_every_lane_was_paused_does_not_count_as_waiting(store: Store) -> None:
    job_id = await store.post(expires_in=60)
    await store.lanes.pause(DEFAULT_LANE, "operator")
    store.client.hincrby(keys.CLOCK, "paused_since_ms", -HOUR_MS)
    store.client.hincrby(keys.job(job_id), "queued_ms", -HOUR_MS)
    await store.timers.expire([job_id])
    assert await store.status(job_id) == "queued"
    await store.lanes.resume(DEFAULT_LANE)
    await store.timers.expire([job_id])
    assert await store.status(job_id) == "queued"
    store.client.hincrby(keys.job(job_id), "queued_ms", -61_000)
    await store.timers.expire([job_id])
    assert await store.status(job_id) == "expired"


@pytest.mark.parametrize("ends", ["failed", "not_now"])
async def test_pause_while_a_job_was_at_wavespeed_puts_its_deadline_off_no_further(store: Store, ends: str) -> None:
    ticket = await store.submitting(expires_in=60)
    await store.lanes.pause(DEFAULT_LANE, "operator")
    store.client.hincrby(keys.CLOCK, "paused_since_ms", -HOUR_MS)
    store.client.hincrby(keys.job(ticket.job_id), "queued_ms", -HOUR_MS)
    store.client.hincrby(keys.attempt(ticket.job_id, 1), "sent_ms", -HOUR_MS)
    if ends == "failed":
        await store.accept(ticket, "p")
        ticket = await store.ticket(ticket.job_id)
        await store.attempts.failed(ticket, FAILED, max_attempts=2)
    else:
        await store.attempts.returned(ticket, "not_now")
    await store.timers.expire([ticket.job_id])
    assert await store.status(ticket.job_id) == "queued"
    store.client.hincrby(keys.job(ticket.job_id), "queued_ms", -61_000)
    await store.timers.expire([ticket.job_id])
    assert await store.status(ticket.job_id) == "expired"


async def test_pause_of_one_lane_among_several_stops_no_clock(store: Store) -> None:
    await store.lanes.configure("second", images_per_minute=1, max_concurrency=1, rate_cost="images")
    await store.lanes.pause(DEFAULT_LANE, "operator")
    assert store.cell().at(keys.CLOCK) == {}
    await store.lanes.pause("second", "operator")
    assert "paused_since_ms" in store.cell().at(keys.CLOCK)
    await store.lanes.resume("second")
    assert "paused_since_ms" not in store.cell().at(keys.CLOCK)


async def test_lane_added_while_all_are_paused_ends_the_paused_time(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "operator")
    assert "paused_since_ms" in store.cell().at(keys.CLOCK)
    await store.lanes.configure("second", images_per_minute=1, max_concurrency=1, rate_cost="images")
    assert "paused_since_ms" not in store.cell().at(keys.CLOCK)


async def test_configuring_again_leaves_a_pause_as_it_is(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
    await store.limits(rate=7, concurrency=8)
    [state] = await store.lanes.states()
    assert (state.state, state.images_per_minute, state.max_concurrency) == ("paused", 7, 8)


async def limits_of(store: Store) -> tuple[int, int]:
    """Give the limits in force."""
    [state] = await store.lanes.states()
    return state.images_per_minute, state.max_concurrency


async def test_limit_that_an_operator_changed_outlives_workers_that_start_with_the_same_setting(store: Store) -> None:
    await store.limits(rate=7, concurrency=8)
    assert await store.lanes.change_limits(DEFAULT_LANE, images_per_minute=3, max_concurrency=None)
    await store.limits(rate=7, concurrency=8)
    assert await limits_of(store) == (3, 8)
    [state] = await store.lanes.states()
    assert (state.configured_images_per_minute, state.configured_max_concurrency) == (7, 8)
    await store.limits(rate=7, concurrency=9)
    assert await limits_of(store) == (3, 9)


async def test_changed_setting_wins_over_what_an_operator_changed(store: Store) -> None:
    await store.lanes.change_limits(DEFAULT_LANE, images_per_minute=3, max_concurrency=2)
    await store.limits(rate=50, concurrency=100)
    assert await limits_of(store) == (50, 2)


async def test_limit_goes_back_to_its_setting(store: Store) -> None:
    await store.limits(rate=7, concurrency=8)
    await store.lanes.change_limits(DEFAULT_LANE, images_per_minute=3, max_concurrency=2)
    await store.lanes.change_limits(DEFAULT_LANE, images_per_minute=AS_CONFIGURED, max_concurrency=None)
    assert await limits_of(store) == (7, 2)


async def test_limit_whose_setting_is_not_known_yet_stays_as_it_is(store: Store) -> None:
    await store.lanes.change_limits(DEFAULT_LANE, images_per_minute=3, max_concurrency=None)
    store.client.hdel(keys.lane(DEFAULT_LANE), "configured_images_per_minute")
    assert await store.lanes.change_limits(DEFAULT_LANE, images_per_minute=AS_CONFIGURED, max_concurrency=None)
    assert (await limits_of(store))[0] == 3


async def test_limits_of_a_lane_that_is_not_known_change_nothing(store: Store) -> None:
    assert not await store.lanes.change_limits("other", images_per_minute=3, max_concurrency=2)
    assert keys.lane("other") not in store.cell().values


async def test_raised_limit_counts_at_once_and_wakes_the_line(store: Store) -> None:
    await store.limits(rate=1)
    for _ in range(9):
        await store.post()
    await store.admit()
    assert (await store.admit()).reason in ("rate", "spacing")
    await store.lanes.change_limits(DEFAULT_LANE, images_per_minute=6_000, max_concurrency=None)
    assert (await store.sweep()).lanes == [DEFAULT_LANE]
    assert len((await store.admit()).tickets) == 8


async def test_status_counts_what_is_in_flight_and_who_waits(store: Store) -> None:
    await store.generating("a", max_images=3)
    await store.post("b", priority="high")
    await store.post("b", priority="low")
    [state] = await store.lanes.states()
    assert (state.in_flight, state.images_last_minute) == (1, 3)
    assert await store.lanes.depth() == {
        "depth": 2,
        "tenants": [
            {
                "tenant": "b",
                "depth": 2,
                "images": 2,
                "by_priority": {"high": 1, "normal": 0, "low": 1},
                "held": None,
            }
        ],
    }
