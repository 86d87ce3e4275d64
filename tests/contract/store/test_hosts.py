"""Deliveries and their hosts: one that hangs or fails holds up nobody else, and is asked again by itself."""

import orjson
import pytest

from darkroom.store import keys
from darkroom.store.deliveries import ClaimedDelivery, HostState
from tests.support.conservation import HOST_AT_ONCE
from tests.support.stores import HOUR_MS, Store

NAME = "slow.example:8443"
URL = f"https://{NAME}/hook"
HOST = f"{NAME} a"
"""As the tenant `a` has it."""
FAILURES = 5


async def told(store: Store, count: int = 1, *, url: str = URL, tenant: str = "a") -> list[str]:
    """End jobs that have a webhook, and give their deliveries."""
    ids = []
    for _ in range(count):
        job_id = await store.post(tenant, webhook={"url": url})
        await store.jobs.cancel(job_id)
        [(delivery_id, _)] = await store.deliveries.of_job((await store.read(job_id)).job)
        ids.append(delivery_id)
    return ids


async def called(store: Store) -> list[str]:
    """Let a sweep hand out what may go."""
    return [item.delivery_id for item in (await store.sweep(most=1000)).deliveries]


async def claim(store: Store, delivery_id: str) -> ClaimedDelivery:
    """Begin an attempt."""
    record = await store.deliveries.read(delivery_id)
    assert record is not None
    claimed = await store.deliveries.claim(delivery_id, record["lease"], lease_ms=HOUR_MS)
    assert claimed is not None
    return claimed


async def attempt(store: Store, delivery_id: str, heard: str, *, status: str = "") -> str:
    """Make an attempt with this result and give what it did to the breaker."""
    outcome = status or ("delivered" if heard == "up" else "pending")
    settled = await store.deliveries.settle(
        await claim(store, delivery_id),
        outcome,
        next_in_ms=HOUR_MS if outcome == "pending" else None,
        attempts=[],
        heard=heard,
    )
    assert settled is not None
    return settled.breaker


async def fail(store: Store, count: int = FAILURES, *, url: str = URL) -> list[str]:
    """Let different deliveries fail one after the other."""
    ids = await told(store, count, url=url)
    assert set(await called(store)) >= set(ids)
    return [await attempt(store, delivery_id, "failed") for delivery_id in ids]


async def host(store: Store) -> HostState | None:
    """Give what is reported of the host."""
    return next((state for state in await store.deliveries.hosts() if (state.host, state.tenant) == (NAME, "a")), None)


def let_cool(store: Store) -> None:
    """Let the time until the next probe be over."""
    store.client.hset(keys.host(HOST), "until_ms", 1)
    store.client.zadd(keys.DUE, {f"w:{HOST}": 1}, xx=True)


async def test_one_host_gets_no_more_than_its_share_and_others_are_not_held_up(store: Store) -> None:
    waiting = await told(store, HOST_AT_ONCE + 3)
    [other] = await told(store, url="https://good.example/hook")
    gone = await called(store)
    assert gone == [*waiting[:HOST_AT_ONCE], other]
    assert await called(store) == []
    assert (await host(store)) == HostState(NAME, "a", "closed", None, None, HOST_AT_ONCE, 3)


async def test_an_attempt_that_ends_lets_the_next_one_go_in_order(store: Store) -> None:
    waiting = await told(store, HOST_AT_ONCE + 2)
    await called(store)
    settled = await store.deliveries.settle(
        await claim(store, waiting[0]), "delivered", next_in_ms=None, attempts=[], heard="up"
    )
    assert settled is not None
    assert settled.freed == 1
    assert await called(store) == [waiting[HOST_AT_ONCE]]


async def test_a_lost_message_is_sent_again_without_counting_twice(store: Store) -> None:
    [delivery_id] = await told(store)
    assert await called(store) == [delivery_id]
    store.client.hset(keys.delivery(delivery_id), "message_ms", 1)
    again = (await store.sweep(f"d:{delivery_id}")).deliveries
    assert [item.delivery_id for item in again] == [delivery_id]
    assert store.client.smembers(keys.flying(HOST)) == {delivery_id}


async def test_failures_of_different_deliveries_in_a_row_open_the_breaker(store: Store) -> None:
    assert await fail(store) == ["", "", "", "", "opened"]
    state = await host(store)
    assert state is not None
    assert (state.breaker, state.waiting) == ("open", 0)
    assert state.failing_since_ms is not None
    assert state.next_probe_ms is None  # nothing waits: the next delivery will be the probe
    await told(store, 2)
    assert await called(store) == []
    [state] = await store.deliveries.hosts()
    assert state.waiting == 2
    assert state.next_probe_ms is not None


async def test_an_answer_in_between_keeps_it_closed(store: Store) -> None:
    await fail(store, FAILURES - 1)
    [good] = await told(store)
    await called(store)
    assert await attempt(store, good, "up") == ""
    assert await fail(store, FAILURES - 1) == [""] * (FAILURES - 1)


async def test_a_refused_address_says_nothing_of_the_host(store: Store) -> None:
    await fail(store, FAILURES - 1)
    [unasked] = await told(store)
    await called(store)
    assert await attempt(store, unasked, "", status="exhausted") == ""
    assert await fail(store, 1) == ["opened"]


async def test_one_delivery_alone_never_opens_it(store: Store) -> None:
    [delivery_id] = await told(store)
    for _ in range(2 * FAILURES):
        await store.sweep(f"d:{delivery_id}")
        assert await attempt(store, delivery_id, "failed") == ""


async def test_an_open_breaker_lets_one_probe_through_at_its_time(store: Store) -> None:
    await fail(store)
    waiting = await told(store, 3)
    assert await called(store) == []
    let_cool(store)
    await called(store)
    assert await called(store) == waiting[:1]
    state = await host(store)
    assert state is not None
    assert (state.breaker, state.flying, state.waiting) == ("half_open", 1, 2)


async def test_while_a_probe_is_under_way_no_timer_goes_off_for_its_host_and_its_end_sets_one(store: Store) -> None:
    await fail(store)
    [probe, *_] = await told(store, 3)
    await called(store)
    let_cool(store)
    await called(store)
    assert await called(store) == [probe]
    await told(store)  # one more arrives meanwhile
    await called(store)
    assert store.client.zscore(keys.DUE, f"w:{HOST}") is None
    await attempt(store, probe, "failed")
    next_probe_ms = int(str(store.client.hget(keys.host(HOST), "until_ms")))
    assert store.client.zscore(keys.DUE, f"w:{HOST}") == next_probe_ms


async def test_a_failed_probe_doubles_the_wait_up_to_half_a_minute(store: Store) -> None:
    await fail(store)
    cool = []
    for _ in range(6):
        [delivery_id] = await told(store)
        let_cool(store)
        assert await called(store) == [delivery_id]
        assert await attempt(store, delivery_id, "failed") == ""
        cool.append(int(str(store.client.hget(keys.host(HOST), "cool_ms"))))
    assert cool == [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]


async def test_a_late_failure_of_another_attempt_does_not_count_as_a_probe(store: Store) -> None:
    [late] = await told(store)
    await called(store)
    await fail(store)
    assert await attempt(store, late, "failed") == ""
    assert store.client.hget(keys.host(HOST), "cool_ms") == "1000"


async def test_a_probe_that_succeeds_lets_all_go(store: Store) -> None:
    await fail(store)
    waiting = await told(store, 3)
    await called(store)
    let_cool(store)
    await called(store)
    [probe] = await called(store)
    assert await attempt(store, probe, "up") == "closed"
    assert await called(store) == waiting[1:]
    assert await host(store) is None


async def test_who_waits_longer_than_its_schedule_is_exhausted_and_told_why(store: Store) -> None:
    await fail(store)
    [old] = await told(store)
    await called(store)
    [young] = await told(store)
    await called(store)
    age(store, old)
    store.client.zadd(keys.DUE, {f"w:{HOST}": 1})
    await store.sweep()
    assert store.client.zrange(keys.host_queue(HOST), 0, -1) == [old, young], "the host has not failed for that long"
    store.client.hset(keys.host(HOST), "since_ms", 1)
    store.client.zadd(keys.DUE, {f"w:{HOST}": 1})
    await store.sweep()
    record = await store.deliveries.read(old)
    assert record is not None
    [entry] = orjson.loads(record["attempts"])
    assert (record["status"], entry["status_code"], entry["duration_ms"]) == ("exhausted", None, 0)
    assert entry["error"].startswith("not attempted: the host fails every attempt")
    assert store.client.zrange(keys.host_queue(HOST), 0, -1) == [young]


def age(store: Store, delivery_id: str) -> None:
    """Let a delivery have stood in the queue for as long as its schedule takes."""
    store.client.zadd(keys.host_queue(HOST), {delivery_id: 1})


async def test_all_that_are_overdue_end_however_many_they_are(store: Store) -> None:
    await fail(store)
    store.client.hset(keys.host(HOST), "until_ms", 1e15)  # no probe goes, however long the next lines take
    waiting = await told(store, 250)
    await called(store)
    store.client.zadd(keys.host_queue(HOST), dict.fromkeys(waiting, 1))
    store.client.hset(keys.host(HOST), "since_ms", 1)
    store.client.zadd(keys.DUE, {f"w:{HOST}": 1})
    for _ in range(3):
        await store.sweep()
    assert store.client.zcard(keys.host_queue(HOST)) == 0


async def test_an_address_that_is_well_is_probed_before_those_that_fail(store: Store) -> None:
    broken = await told(store, HOST_AT_ONCE + 9)
    await called(store)
    for delivery_id in broken[:FAILURES]:
        await attempt(store, delivery_id, "failed")
    [good] = await told(store, url=f"https://{NAME}/good")
    await called(store)
    again = broken[:FAILURES]
    store.client.zadd(keys.DUE, {f"d:{delivery_id}": 1 for delivery_id in again})
    await called(store)
    assert store.client.zrange(keys.host_queue(HOST), 0, -1)[-FAILURES:] == again
    assert store.client.zrank(keys.host_queue(HOST), good) < store.client.zrank(keys.host_queue(HOST), again[0])


async def test_another_tenants_failing_address_holds_nobody_up(store: Store) -> None:
    await fail(store)
    assert (await host(store)) is not None
    [other] = await told(store, tenant="b")
    assert await called(store) == [other]


async def test_one_delivery_that_fails_again_and_again_opens_no_breaker(store: Store) -> None:
    one, two = await told(store, 2)
    await called(store)
    for _ in range(FAILURES):
        for delivery_id in (one, two):
            await attempt(store, delivery_id, "failed")
            store.client.zadd(keys.DUE, {f"d:{delivery_id}": 1})
        await called(store)
    assert await host(store) is None


async def test_what_waited_for_an_address_that_is_gone_now_ends_unsent(store: Store) -> None:
    waiting = await told(store, HOST_AT_ONCE + 3)
    await called(store)
    await attempt(store, waiting[0], "up", status="gone")
    assert await called(store) == []
    record = await store.deliveries.read(waiting[HOST_AT_ONCE])
    assert record is not None
    assert (record["status"], record["tries"]) == ("gone", "0")


async def test_a_host_that_is_only_slow_exhausts_nobody(store: Store) -> None:
    waiting = await told(store, HOST_AT_ONCE + 1)
    await called(store)
    store.client.zadd(keys.host_queue(HOST), {waiting[-1]: 1})
    store.client.zadd(keys.DUE, {f"w:{HOST}": 1})
    await store.sweep()
    assert store.client.zrange(keys.host_queue(HOST), 0, -1) == [waiting[-1]]


async def test_gone_stops_that_url_for_that_tenant_until_it_is_sent_there_again(store: Store) -> None:
    [first] = await told(store)
    await called(store)
    await attempt(store, first, "up", status="gone")
    [second] = await told(store)
    [elsewhere] = await told(store, url=f"https://{NAME}/other")
    [foreign] = await told(store, tenant="b")
    assert await called(store) == [elsewhere, foreign]
    record = await store.deliveries.read(second)
    assert record is not None
    assert (record["status"], orjson.loads(record["attempts"])[0]["error"]) == (
        "gone",
        "not attempted: this URL has answered 410 Gone; redelivering to it lifts that",
    )
    assert await store.deliveries.redeliver(second)
    [third] = await told(store)
    assert await called(store) == [second, third]


async def test_what_waits_for_a_host_can_be_sent_again_and_waits_on(store: Store) -> None:
    await fail(store)
    [delivery_id] = await told(store)
    await called(store)
    assert await store.deliveries.redeliver(delivery_id)
    assert await called(store) == []
    assert store.client.zrange(keys.host_queue(HOST), 0, -1) == [delivery_id]


@pytest.mark.parametrize(
    "url",
    ["https://user:word@Slow.Example:8443/x", "https://slow.example:8443?q=/", "https://slow.example:8443#@other"],
)
async def test_a_host_is_the_same_however_it_is_written(store: Store, url: str) -> None:
    await fail(store)
    await told(store, url=url)
    assert await called(store) == []


@pytest.mark.parametrize("status", ["delivered", "exhausted", "gone", "pending"])
async def test_the_job_says_what_became_of_its_webhook(store: Store, status: str) -> None:
    job_id = await store.post(webhook={"url": URL})
    assert (await store.read(job_id)).job.get("webhook_status") is None
    await store.jobs.cancel(job_id)
    assert (await store.read(job_id)).job["webhook_status"] == "pending"
    [delivery_id] = await called(store)
    await attempt(store, delivery_id, "failed" if status in ("pending", "exhausted") else "up", status=status)
    assert (await store.read(job_id)).job["webhook_status"] == status
    await store.deliveries.redeliver(delivery_id)
    assert (await store.read(job_id)).job["webhook_status"] == "pending"
