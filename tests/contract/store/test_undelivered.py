"""What reached nobody is found again by tenant, time and host, and sent again all at once."""

import pytest

from darkroom.store import keys
from darkroom.store.undelivered import UndeliveredStore, Wanted
from tests.contract.store.test_hosts import attempt, called, told
from tests.support.stores import HOUR_MS, Store

GOOD, BAD = "https://good.example/hook", "https://bad.example:8443/hook"


async def lost(
    store: Store, count: int = 1, *, url: str = BAD, tenant: str = "a", status: str = "exhausted"
) -> list[str]:
    """Let deliveries end without having reached anybody."""
    ids = await told(store, count, url=url, tenant=tenant)
    await called(store)
    for delivery_id in ids:
        await attempt(store, delivery_id, "up", status=status)
    return ids


async def found(store: Store, *tenants: str, limit: int = 100, **wanted: object) -> list[str]:
    """Page through what is wanted."""
    undelivered, ids, cursor = UndeliveredStore(store.redis), [], None
    while True:
        page, cursor = await undelivered.page(tenants or ("a",), Wanted(**wanted), limit=limit, cursor=cursor)  # type: ignore[arg-type]
        assert len(page) <= limit
        ids += [delivery_id for delivery_id, _ in page]
        if cursor is None:
            return ids


async def test_only_what_reached_nobody_is_listed(store: Store) -> None:
    [exhausted] = await lost(store)
    [gone] = await lost(store, url="https://bad.example/gone", status="gone")
    [delivered] = await told(store, url=GOOD)
    await called(store)
    await attempt(store, delivered, "up")
    assert await found(store) == [exhausted, gone]
    assert await found(store, statuses=("gone",)) == [gone]
    assert await found(store, "b") == []


@pytest.mark.parametrize("host", ["bad.example:8443", "bad.example", "BAD.example"])
async def test_one_hosts_are_found_with_or_without_its_port(store: Store, host: str) -> None:
    await lost(store, url="https://other.example/hook")
    ids = await lost(store, 2)
    assert await found(store, host=host) == ids
    assert await found(store, host="example") == []


async def test_those_that_ended_before_are_left_out(store: Store) -> None:
    [old, new] = await lost(store, 2)
    now_ms = int(store.client.time()[0]) * 1000
    store.client.zadd(keys.undelivered("a"), {old: now_ms - HOUR_MS})
    assert await found(store, since_ms=now_ms - HOUR_MS // 2) == [new]
    assert await found(store) == [old, new]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_hold_each_once_also_where_many_ended_in_the_same_millisecond(store: Store, limit: int) -> None:
    ids = await lost(store, 5) + await lost(store, 2, tenant="b")
    store.client.zadd(keys.undelivered("a"), dict.fromkeys(ids[:5], int(store.client.time()[0]) * 1000))
    assert sorted(await found(store, "a", "b", limit=limit)) == sorted(ids)


async def test_recovery_sends_exactly_the_wanted_ones_again(store: Store) -> None:
    ids = await lost(store, 3)
    [gone] = await lost(store, url="https://bad.example:8443/gone", status="gone")
    [other] = await lost(store, url="https://other.example/hook")
    [foreign] = await lost(store, tenant="b")
    undelivered = UndeliveredStore(store.redis)
    wanted = Wanted(0, "bad.example", ("exhausted",))
    assert await undelivered.recover(["a"], wanted) == 3
    assert await called(store) == ids
    assert await found(store, "a", "b") == [gone, other, foreign]
    assert await undelivered.count(["a", "b"]) == 3
    assert await undelivered.recover(["a"], wanted) == 0


async def test_more_than_a_page_is_recovered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.store.undelivered.PAGE", 2)
    ids = await lost(store, 7)
    assert await UndeliveredStore(store.redis).recover(["a"], Wanted()) == 7
    assert sorted(await called(store)) == sorted(ids)


async def test_what_is_no_longer_kept_is_neither_listed_nor_sent(store: Store) -> None:
    [delivery_id] = await lost(store)
    store.client.delete(keys.delivery(delivery_id))
    assert await found(store) == []
    assert await UndeliveredStore(store.redis).recover(["a"], Wanted()) == 0
