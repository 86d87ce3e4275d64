"""On a server that the lane does not know nothing is admitted or sent; only a real one says which it is."""

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.line.progress import LOOKS_BACK_MS, look_at_progress
from darkroom.store import keys
from tests.support.stores import Store

LANE = keys.lane(DEFAULT_LANE)


def fail_over(store: Store) -> None:
    """Let the lane have known another server."""
    store.client.hset(LANE, "server", "the-one-before")


async def test_nothing_is_admitted_until_the_server_is_known(store: Store) -> None:
    job_id = await store.post()
    fail_over(store)
    admission = await store.admit()
    assert (admission.reason, admission.tickets) == ("server", [])
    assert store.cell().due("l") == [DEFAULT_LANE]
    change = await store.lanes.server_change(DEFAULT_LANE)
    assert change is not None
    assert change.seen_ms <= change.noticed_ms <= change.now_ms
    assert not await store.lanes.server_known(DEFAULT_LANE, "yet-another-one")
    assert await store.lanes.server_known(DEFAULT_LANE, change.server)
    assert await store.lanes.server_change(DEFAULT_LANE) is None
    assert [ticket.job_id for ticket in (await store.admit()).tickets] == [job_id]


async def test_each_server_is_noticed_anew(store: Store) -> None:
    fail_over(store)
    first = await store.lanes.server_change(DEFAULT_LANE)
    store.client.hset(LANE, "server_noticed_ms", 7)
    again = await store.lanes.server_change(DEFAULT_LANE)
    store.client.hset(LANE, "server_noticed", "one-that-was-lost-as-well")
    other = await store.lanes.server_change(DEFAULT_LANE)
    assert first is not None
    assert again is not None
    assert other is not None
    assert (again.noticed_ms, other.noticed_ms) == (7, other.now_ms)


async def test_a_lane_that_looks_back_says_so_and_is_wrong_only_after_long(store: Store) -> None:
    await store.post()
    fail_over(store)
    await store.lanes.server_change(DEFAULT_LANE)
    found = await look_at_progress(store.redis)
    assert "lane default admits nothing" in (found.looks_back or "")
    assert found.stuck == {}
    store.client.hincrby(LANE, "server_noticed_ms", -2 * LOOKS_BACK_MS)
    assert set((await look_at_progress(store.redis)).stuck) == {"server"}


async def test_what_was_admitted_before_is_not_sent_after(store: Store) -> None:
    ticket = await store.admitted()
    fail_over(store)
    assert await store.attempts.begin_submit(ticket, lease_ms=1, sync_lease_ms=1, key="k") is None
    assert await store.status(ticket.job_id) == "queued"
    assert await store.spent(ticket.job_id) == 0


async def test_signs_of_life_say_until_when_the_server_was_known(store: Store) -> None:
    async def seen_ms() -> int:
        store.client.hset(LANE, "server_seen_ms", 1)
        await store.lanes.sign_of_life("w", {"alive_at_ms": 10**15}, forget_after_s=60)
        return int(str(store.client.hget(LANE, "server_seen_ms")))

    assert await seen_ms() > 1
    fail_over(store)
    assert await seen_ms() == 1


async def test_configuring_a_lane_anew_does_not_hide_the_change(store: Store) -> None:
    fail_over(store)
    await store.limits(rate=5)
    assert await store.lanes.server_change(DEFAULT_LANE) is not None
