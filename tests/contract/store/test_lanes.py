"""Lanes: what pauses admission, what opens it again, and that nobody's pause is forgotten or overruled."""

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from tests.support.stores import HOUR_MS, Store


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
    assert not await store.lanes.reopen(DEFAULT_LANE)
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


async def test_refused_rate_waits_and_slows_and_recovers(store: Store) -> None:
    await store.post()
    assert await store.lanes.slow(DEFAULT_LANE, wait_s=60, job_id="job_1", cost=1) == 0
    assert (await store.admit()).reason == "rate"
    [state] = await store.lanes.states()
    assert state.state == "throttled"
    store.pass_the_window()
    [ticket] = (await store.admit()).tickets
    slowed = float(str(store.client.hget(keys.lane(DEFAULT_LANE), "pace")))
    assert slowed == 0.9
    await store.begin(ticket)
    await store.accept(ticket, "p1")
    assert float(str(store.client.hget(keys.lane(DEFAULT_LANE), "pace"))) > slowed


async def test_long_wait_for_the_rate_does_not_put_off_a_probe(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
    planned = store.cell().at(keys.DUE)["l:default"]
    await store.lanes.slow(DEFAULT_LANE, wait_s=3600, job_id="job_1", cost=1)
    assert store.cell().at(keys.DUE)["l:default"] == planned


async def test_refusals_of_a_job_too_heavy_for_the_account_are_counted(store: Store) -> None:
    await store.limits(rate=4)
    ticket = await store.submitting(max_images=15)
    for count in (1, 2, 3):
        assert await store.lanes.slow(DEFAULT_LANE, wait_s=0, job_id=ticket.job_id, cost=15) == count
    assert await store.lanes.slow(DEFAULT_LANE, wait_s=0, job_id=ticket.job_id, cost=4) == 0


async def test_refusal_of_a_job_whose_time_is_over_makes_no_record(store: Store) -> None:
    await store.limits(rate=4)
    assert await store.lanes.slow(DEFAULT_LANE, wait_s=0, job_id="job_gone", cost=15) == 0
    assert keys.job("job_gone") not in store.cell().values


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


async def test_pause_of_one_lane_among_several_stops_no_clock(store: Store) -> None:
    await store.lanes.configure("second", images_per_minute=1, max_concurrency=1, rate_cost="images")
    await store.lanes.pause(DEFAULT_LANE, "operator")
    assert store.cell().at(keys.CLOCK) == {}
    await store.lanes.pause("second", "operator")
    assert "paused_since_ms" in store.cell().at(keys.CLOCK)
    await store.lanes.resume("second")
    assert "paused_since_ms" not in store.cell().at(keys.CLOCK)


async def test_configuring_again_leaves_a_pause_as_it_is(store: Store) -> None:
    await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
    await store.limits(rate=7, concurrency=8)
    [state] = await store.lanes.states()
    assert (state.state, state.images_per_minute, state.max_concurrency) == ("paused", 7, 8)


async def test_status_counts_what_is_in_flight_and_who_waits(store: Store) -> None:
    await store.generating("a", max_images=3)
    await store.post("b", priority="high")
    await store.post("b", priority="low")
    [state] = await store.lanes.states()
    assert (state.in_flight, state.images_last_minute) == (1, 3)
    assert await store.lanes.depth() == {
        "depth": 2,
        "tenants": [{"tenant": "b", "depth": 2, "by_priority": {"high": 1, "normal": 0, "low": 1}}],
    }
