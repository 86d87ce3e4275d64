"""A message that died with its worker is sent again soon, and one that only waits its turn is not sent twice."""

import pytest

from darkroom.store import keys
from darkroom.store.attempts import Ticket
from darkroom.timers import Due
from tests.support.stores import HOOK, HOUR_MS, Store

WAIT_MS, CHECK_MS = 60_000, 10_000


async def sweep(store: Store, *members: str) -> Due:
    """Let these timers go off."""
    if members:
        store.client.zadd(keys.DUE, dict.fromkeys(members, 1))
    return await store.timers.lease_due(most=100, look_ms=HOUR_MS, message_ms=WAIT_MS, check_ms=CHECK_MS)


def goes_off_in_ms(store: Store, member: str) -> int:
    """Give how long a timer has still to go, to the second."""
    seconds, _ = store.client.time()
    return round((float(store.cell().at(keys.DUE)[member]) / 1000 - int(seconds)) / 10) * 10_000


async def called(store: Store, *, ago_ms: int) -> Ticket:
    """Have outputs wait for a message that was sent so long ago."""
    ticket = await store.storing()
    store.client.hincrby(keys.attempt(ticket.job_id, 1), "message_ms", -ago_ms)
    return ticket


async def begun(store: Store, *, ago_ms: int) -> None:
    """Have a copy begin now whose message was sent so long ago."""
    ticket = await called(store, ago_ms=ago_ms)
    assert await store.attempts.claim_store(ticket, lease_ms=HOUR_MS) is not None


async def test_a_message_is_sent_again_where_nothing_begins(store: Store) -> None:
    ticket = await called(store, ago_ms=CHECK_MS)
    assert [entry.ticket for entry in (await sweep(store, ticket.due_member)).attempts] == [ticket]


async def test_a_message_is_sent_again_once_a_later_one_has_begun(store: Store) -> None:
    ticket = await called(store, ago_ms=CHECK_MS)
    await begun(store, ago_ms=CHECK_MS // 2)
    assert [entry.ticket for entry in (await sweep(store, ticket.due_member)).attempts] == [ticket]


async def test_a_message_that_waits_behind_earlier_ones_is_not_sent_twice(store: Store) -> None:
    ticket = await called(store, ago_ms=CHECK_MS)
    await begun(store, ago_ms=2 * CHECK_MS)
    assert (await sweep(store, ticket.due_member)).attempts == []
    assert goes_off_in_ms(store, ticket.due_member) == CHECK_MS


async def test_a_message_is_sent_again_when_what_was_before_it_has_stopped_moving(store: Store) -> None:
    ticket = await called(store, ago_ms=CHECK_MS)
    await begun(store, ago_ms=2 * CHECK_MS)
    store.client.hincrby(keys.PROGRESS, "store_began_ms", -CHECK_MS // 4)
    assert [entry.ticket for entry in (await sweep(store, ticket.due_member)).attempts] == [ticket]


async def test_a_message_waits_its_turn_for_a_minute_at_most(store: Store) -> None:
    ticket = await called(store, ago_ms=WAIT_MS)
    await begun(store, ago_ms=2 * WAIT_MS)
    assert [entry.ticket for entry in (await sweep(store, ticket.due_member)).attempts] == [ticket]


async def test_a_message_that_nobody_consumes_is_sent_again_once_a_minute(store: Store) -> None:
    ticket = await called(store, ago_ms=CHECK_MS)
    await sweep(store, ticket.due_member)
    assert goes_off_in_ms(store, ticket.due_member) == WAIT_MS


async def test_work_whose_lease_has_lapsed_is_called_for_at_once(store: Store) -> None:
    ticket = await store.storing()
    claim = await store.attempts.claim_store(ticket, lease_ms=HOUR_MS)
    assert claim is not None
    await begun(store, ago_ms=2 * CHECK_MS)
    assert [entry.ticket for entry in (await sweep(store, ticket.due_member)).attempts] == [claim.ticket]
    assert goes_off_in_ms(store, ticket.due_member) == CHECK_MS


async def test_a_ticket_that_a_full_worker_handed_back_is_called_for_at_once(store: Store) -> None:
    ticket = await store.storing()
    await store.attempts.bring_back(ticket, delay_ms=1)
    await begun(store, ago_ms=2 * CHECK_MS)
    assert [entry.ticket for entry in (await sweep(store, ticket.due_member)).attempts] == [ticket]


@pytest.mark.parametrize("again", [False, True])
async def test_the_same_holds_for_deliveries(store: Store, again: bool) -> None:
    job_id = await store.post(webhook=HOOK)
    await store.jobs.cancel(job_id)
    [delivery_id] = (await store.read(job_id)).job["deliveries"].split(",")
    assert [item.delivery_id for item in (await sweep(store)).deliveries] == [delivery_id]
    assert goes_off_in_ms(store, f"d:{delivery_id}") == CHECK_MS
    earlier = int(store.client.hget(keys.delivery(delivery_id), "message_ms") or 0) - 1
    of_ms = earlier + 2 if again else earlier
    store.client.hset(keys.PROGRESS, mapping={"notify_began_ms": earlier, "notify_began_of_ms": of_ms})
    assert bool((await sweep(store, f"d:{delivery_id}")).deliveries) is again


async def test_a_redelivery_is_called_for_at_once(store: Store) -> None:
    job_id = await store.post(webhook=HOOK)
    await store.jobs.cancel(job_id)
    [delivery] = (await sweep(store)).deliveries
    now_ms = int(store.client.hget(keys.delivery(delivery.delivery_id), "message_ms") or 0)
    store.client.hset(keys.PROGRESS, mapping={"notify_began_ms": now_ms, "notify_began_of_ms": now_ms - 1})
    assert await store.deliveries.redeliver(delivery.delivery_id)
    assert len((await sweep(store)).deliveries) == 1


async def test_slow_copies_that_keep_ending_show_that_storing_goes_on(store: Store) -> None:
    first, _ = await store.storing(), await store.storing()
    claim = await store.attempts.claim_store(first, lease_ms=HOUR_MS)
    assert claim is not None
    await sweep(store, (await store.storing()).due_member)
    assert "store_called_ms" in store.cell().at(keys.PROGRESS)
    await store.attempts.save_output(claim.ticket, 0, "{}")
    assert "store_called_ms" not in store.cell().at(keys.PROGRESS)
