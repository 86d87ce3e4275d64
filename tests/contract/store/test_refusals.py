"""Refused for the rate: the pace falls once, comes back by itself, and a job too heavy for the account ends."""

import pytest

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Moved, Ticket
from tests.support.stores import Store


async def refuse(store: Store, ticket: Ticket, *, wait_s: float = 0, cost: int = 1, send: int = 1) -> int:
    """Have upstream refuse a send for its rate."""
    return await store.lanes.slow(DEFAULT_LANE, ticket, wait_s=wait_s, cost=cost, send=send)


def let_pass(store: Store, seconds: int) -> None:
    """Let time pass since the last refusal."""
    store.client.hincrby(keys.lane(DEFAULT_LANE), "slowed_ms", -seconds * 1000)


async def test_refused_lane_waits_as_long_as_it_was_asked_to(store: Store) -> None:
    ticket = await store.submitting()
    await refuse(store, ticket, wait_s=60)
    await store.post()
    assert (await store.admit()).reason == "rate"
    [state] = await store.lanes.states()
    assert state.state == "throttled"
    store.pass_the_window()
    assert len((await store.admit()).tickets) == 1


async def test_many_refusals_at_once_lower_the_pace_once(store: Store) -> None:
    for _ in range(5):
        await refuse(store, Ticket("job_1", 1, 1))
    assert float(str(store.client.hget(keys.lane(DEFAULT_LANE), "pace"))) == 0.9
    let_pass(store, 2)
    await refuse(store, Ticket("job_1", 1, 1))
    assert 0.8 < float(str(store.client.hget(keys.lane(DEFAULT_LANE), "pace"))) < 0.82


async def test_lane_is_shown_as_throttled_until_it_is_back_at_its_full_pace(store: Store) -> None:
    await refuse(store, Ticket("job_1", 1, 1))
    let_pass(store, 118)
    assert [state.state for state in await store.lanes.states()] == ["throttled"]
    let_pass(store, 2)
    assert [state.state for state in await store.lanes.states()] == ["open"]


@pytest.mark.parametrize(("passed_s", "share"), [(0, 0.5), (60, 0.75), (121, 1.0)])
async def test_pace_in_force_grows_from_the_refusal_to_the_whole_rate(
    store: Store, passed_s: int, share: float
) -> None:
    await store.limits(rate=40)
    store.client.hset(keys.lane(DEFAULT_LANE), mapping={"pace": 0.5, "slowed_ms": int(store.client.time()[0]) * 1000})
    let_pass(store, passed_s)
    for _ in range(int(40 * share) - 1):
        await store.post()
    assert (await store.admit()).reason == "empty", "a line that fits the minute goes at once"
    await store.post(max_images=4)
    assert (await store.admit()).reason == "rate"


async def test_admissions_are_spaced_further_apart_at_a_lower_pace(store: Store) -> None:
    await store.limits(rate=60)
    now_ms = int(store.client.time()[0]) * 1000
    store.client.hset(keys.lane(DEFAULT_LANE), mapping={"pace": 0.5, "slowed_ms": now_ms})
    for _ in range(60):
        await store.post(max_images=4)
    [ticket] = (await store.admit()).tickets
    await store.begin(ticket)
    store.client.hincrby(keys.lane(DEFAULT_LANE), "spaced_ms", -4_001)
    assert (await store.admit()).reason == "spacing"
    store.client.hincrby(keys.lane(DEFAULT_LANE), "spaced_ms", -4_001)
    assert len((await store.admit()).tickets) == 1


async def test_spacing_after_a_refusal_shortens_as_the_pace_recovers(store: Store) -> None:
    await store.limits(rate=60)
    now_ms = int(store.client.time()[0]) * 1000
    store.client.hset(keys.lane(DEFAULT_LANE), mapping={"pace": 0.1, "slowed_ms": now_ms})
    for _ in range(60):
        await store.post(max_images=4)
    await store.admit()
    assert (await store.admit()).reason in ("rate", "spacing")
    let_pass(store, 121)
    store.client.hincrby(keys.lane(DEFAULT_LANE), "spaced_ms", -4_001)
    assert len((await store.admit()).tickets) == 1


async def test_job_that_fits_the_true_limit_goes_at_the_lowest_pace_and_is_no_heavy_one(store: Store) -> None:
    await store.limits(rate=20)
    store.client.hset(keys.lane(DEFAULT_LANE), mapping={"pace": 0.1, "slowed_ms": int(store.client.time()[0]) * 1000})
    ticket = await store.submitting(max_images=15)
    assert [await refuse(store, ticket, cost=15) for _ in range(3)] == [0, 0, 0]


async def test_job_too_heavy_for_the_account_is_counted_once_a_send(store: Store) -> None:
    await store.limits(rate=4)
    ticket = await store.submitting(max_images=15)
    for count in (1, 2, 3):
        assert await refuse(store, ticket, cost=15, send=count) == count
        assert await refuse(store, ticket, cost=15, send=count) == count, "the same answer again"
        assert await store.attempts.returned(ticket, "not_now") is Moved.DONE
        store.pass_the_window()
        [ticket] = (await store.admit()).tickets
        await store.begin(ticket)
    assert await store.status(ticket.job_id) == "submitting"


async def test_refusals_of_a_heavy_job_count_only_in_a_row(store: Store) -> None:
    await store.limits(rate=4)
    ticket = await store.submitting(max_images=15)
    assert await refuse(store, ticket, cost=15, send=1) == 1
    for why in ("not_now", "never_left"):
        await store.attempts.returned(ticket, why)
        store.pass_the_window()
        [ticket] = (await store.admit()).tickets
        send = await store.begin(ticket)
    assert await refuse(store, ticket, cost=15, send=send) == 1


async def test_refusal_that_is_no_longer_the_attempts_own_is_not_counted(store: Store) -> None:
    await store.limits(rate=4)
    ticket = await store.submitting(max_images=15)
    await store.attempts.returned(ticket, "not_now")
    assert await refuse(store, ticket, cost=15, send=1) == 0
    assert await refuse(store, Ticket("job_gone", 1, 1), cost=15, send=1) == 0
    assert keys.attempt("job_gone", 1) not in store.cell().values


async def test_heavy_job_at_its_turn_is_waited_for_and_then_lets_others_go(store: Store) -> None:
    await store.limits(rate=4)
    await store.generating("b")
    heavy = await store.post("a", max_images=15)
    for _ in range(3):
        await store.post("b")
    assert (await store.admit()).tickets == []
    store.pass_the_window()
    [ticket] = (await store.admit()).tickets
    assert ticket.job_id == heavy
    await store.begin(ticket)
    await store.accept(ticket, "p-heavy")
    store.pass_the_window()
    assert len((await store.admit()).tickets) == 3
