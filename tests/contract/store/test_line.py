"""Who is next: fair between tenants, by priority within one, never beyond the account's limits."""

from collections import Counter

import pytest

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from tests.support.stores import Store


async def order_of(store: Store, count: int) -> list[str]:
    """Admit one at a time with nothing in the way and give the tenants in order."""
    tenants = []
    for _ in range(count):
        [ticket] = (await store.admit(1)).tickets
        tenants.append((await store.read(ticket.job_id)).tenant)
        await store.begin(ticket)
        await store.accept(ticket, f"p-{ticket.job_id}")
        store.pass_the_window()
    return tenants


async def test_giant_does_not_hold_up_another_tenant(store: Store) -> None:
    for _ in range(20):
        await store.post("giant")
    await store.post("small")
    assert "small" in await order_of(store, 2)


async def test_turns_are_weighted_by_images(store: Store) -> None:
    for _ in range(20):
        await store.post("heavy", max_images=4)
        await store.post("light", max_images=1)
    assert Counter(await order_of(store, 20))["heavy"] == 4


async def test_newcomer_has_neither_credit_nor_debt(store: Store) -> None:
    for _ in range(30):
        await store.post("old")
    await order_of(store, 10)
    for _ in range(30):
        await store.post("new")
    assert Counter(await order_of(store, 10)) == {"old": 5, "new": 5}


async def test_higher_priority_goes_first_within_a_tenant_only(store: Store) -> None:
    low, normal, high = [await store.post("a", priority=priority) for priority in ("low", "normal", "high")]
    other = await store.post("b", priority="low")
    tickets = (await store.admit()).tickets
    order = [ticket.job_id for ticket in tickets]
    assert [job_id for job_id in order if job_id != other] == [high, normal, low]
    assert order.index(other) < 2


async def test_jobs_of_a_flow_go_in_order_of_arrival(store: Store) -> None:
    posted = [await store.post() for _ in range(12)]
    assert [ticket.job_id for ticket in (await store.admit()).tickets] == posted


async def test_no_more_images_than_the_rate_are_admitted(store: Store) -> None:
    await store.limits(rate=10)
    for _ in range(4):
        await store.post(max_images=3)
    first = await store.admit()
    while (more := await store.admit()).tickets:
        first.tickets.extend(more.tickets)
    assert len(first.tickets) <= 3
    assert store.used() <= 10


async def test_whole_minute_may_be_used_at_once_by_a_line_that_fits(store: Store) -> None:
    await store.limits(rate=10)
    for _ in range(5):
        await store.post(max_images=2)
    admission = await store.admit()
    assert (len(admission.tickets), admission.reason, store.used()) == (5, "empty", 10)


async def test_job_at_its_turn_that_does_not_fit_holds_the_turn(store: Store) -> None:
    await store.limits(rate=10)
    await store.admitted(max_images=8)
    await store.post(max_images=4)
    await store.post(max_images=1)
    admission = await store.admit()
    assert (admission.reason, admission.tickets) == ("rate", [])


async def test_reservation_counts_a_minute_from_the_end_of_its_post(store: Store) -> None:
    ticket = await store.generating(max_images=5)
    [until] = store.cell().at(keys.sends(DEFAULT_LANE)).values()
    seconds, microseconds = store.client.time()
    assert 55_000 < until - (seconds * 1000 + microseconds // 1000) <= 60_000
    store.pass_the_window()
    await store.admit()
    assert store.used() == 0
    assert store.cell().at(keys.sends(DEFAULT_LANE)) == {}
    assert await store.spent(ticket.job_id) == 5


async def test_room_opens_when_the_window_has_passed(store: Store) -> None:
    await store.limits(rate=4)
    await store.generating(max_images=4)
    await store.post(max_images=4)
    assert (await store.admit()).tickets == []
    assert "l:default" in store.cell().at(keys.DUE)
    store.pass_the_window()
    assert len((await store.admit()).tickets) == 1


async def test_line_is_looked_at_again_when_enough_for_the_job_at_its_turn_has_left_the_window(store: Store) -> None:
    await store.limits(rate=4)
    for _ in range(2):
        await store.generating()
    now_ms = int(store.client.time()[0]) * 1000
    sends = keys.sends(DEFAULT_LANE)
    first, second = sorted(store.cell().at(sends))
    store.client.zadd(sends, {first: now_ms + 10_000, second: now_ms + 30_000})
    await store.post(max_images=4)
    assert (await store.admit()).reason == "rate"
    assert store.cell().at(keys.DUE)["l:default"] == pytest.approx(now_ms + 30_000, abs=1)


async def test_job_heavier_than_the_whole_minute_goes_alone(store: Store) -> None:
    await store.limits(rate=4)
    await store.generating(max_images=1)
    heavy = await store.post(max_images=15)
    assert (await store.admit()).reason == "rate"
    store.pass_the_window()
    assert [ticket.job_id for ticket in (await store.admit()).tickets] == [heavy]
    await store.post(max_images=1)
    assert (await store.admit()).tickets == []


async def test_concurrency_is_never_exceeded(store: Store) -> None:
    await store.limits(concurrency=2)
    for _ in range(3):
        await store.post()
    admission = await store.admit()
    assert (admission.reason, len(admission.tickets)) == ("slots", 2)
    ticket = admission.tickets[0]
    await store.begin(ticket)
    await store.accept(ticket, "p1")
    assert (await store.admit()).tickets == []
    await store.hand_over(await store.ticket(ticket.job_id))
    assert len((await store.admit()).tickets) == 1


async def test_canceled_generation_keeps_its_slot_until_upstream_is_done(store: Store) -> None:
    await store.limits(concurrency=1)
    ticket = await store.generating()
    await store.jobs.cancel(ticket.job_id)
    await store.post()
    assert (await store.admit()).reason == "slots"
    await store.hand_over(ticket)
    assert len((await store.admit()).tickets) == 1


async def test_line_longer_than_the_minute_is_spaced(store: Store) -> None:
    await store.limits(rate=60)
    for _ in range(100):
        await store.post()
    admission = await store.admit()
    assert admission.reason == "spacing"
    assert len(admission.tickets) <= 2
    assert "l:default" in store.cell().at(keys.DUE)


async def test_admitted_but_unsent_jobs_are_bounded_while_the_line_is_long(store: Store) -> None:
    await store.limits(rate=60)
    for _ in range(100):
        await store.post()
    admitted = []
    for _ in range(5):
        store.client.hdel(keys.lane(DEFAULT_LANE), "spaced_ms")
        admitted += (await store.admit()).tickets
    assert len(admitted) == 2
    await store.begin(admitted[0])
    store.client.hdel(keys.lane(DEFAULT_LANE), "spaced_ms")
    assert len((await store.admit()).tickets) == 1


async def test_an_idle_lane_bursts_no_further_than_can_be_sent_soon(store: Store) -> None:
    await store.limits(rate=1000, concurrency=1000)
    for _ in range(70):
        await store.post()
    tickets = (await store.admit(most=100)).tickets
    assert len(tickets) == 64
    assert (await store.admit(most=100)).reason == "spacing"
    await store.begin(tickets[0])
    assert len((await store.admit(most=100)).tickets) == 1


async def test_requests_count_as_one_where_the_account_counts_them_so(store: Store) -> None:
    await store.limits(rate=3, rate_cost="requests")
    for _ in range(3):
        await store.post(max_images=15)
    admission = await store.admit()
    assert (len(admission.tickets), store.used()) == (3, 3)


async def test_paid_but_unstored_images_stop_admission(store: Store) -> None:
    ticket = await store.storing(max_images=4)
    await store.post()
    assert (await store.admit(max_unstored=4)).reason == "storage"
    await store.complete(ticket)
    assert len((await store.admit(max_unstored=4)).tickets) == 1


async def test_limits_change_while_the_lane_runs(store: Store) -> None:
    await store.limits(rate=10)
    for _ in range(20):
        await store.post(max_images=10)
    assert len((await store.admit()).tickets) == 1
    assert (await store.admit()).tickets == []
    await store.limits(rate=6000)
    assert len((await store.admit()).tickets) == 19
    await store.limits(rate=10)
    await store.post()
    assert (await store.admit()).reason == "rate"


async def test_lapsed_admission_goes_back_to_its_place_without_cost(store: Store) -> None:
    ticket = await store.admitted(max_images=3)
    await store.post()
    [entry] = (await store.sweep(ticket.due_member)).attempts
    assert entry.state == "admitted"
    await store.attempts.unadmit([entry.ticket])
    record = await store.read(ticket.job_id)
    assert (record.status, record.place, store.used()) == ("queued", 1, 0)
    assert await store.attempts.begin_submit(ticket, lease_ms=1, sync_lease_ms=1, key="k") is None


@pytest.mark.parametrize("most", [1, 3])
async def test_count_asked_for_bounds_one_admission(store: Store, most: int) -> None:
    for _ in range(5):
        await store.post()
    admission = await store.admit(most)
    assert (admission.reason, len(admission.tickets)) == ("more", most)


async def test_wake_is_raised_once_until_it_is_cleared(store: Store) -> None:
    assert await store.line.raise_wake()
    assert not await store.line.raise_wake()
    await store.line.clear_wake()
    assert await store.line.raise_wake()
