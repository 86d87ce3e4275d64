"""A call whose answer was lost is repeated: its own intent is told again, anybody else's is not."""

from tests.support.stores import HOUR_MS, Store


async def test_repeated_call_learns_of_its_own_intent_and_counts_nothing_twice(store: Store) -> None:
    ticket = await store.admitted(max_images=4)
    first, again = [
        await store.attempts.begin_submit(ticket, lease_ms=HOUR_MS, sync_lease_ms=HOUR_MS, key="k", mark="mine")
        for _ in range(2)
    ]
    assert first is not None
    assert first == again
    record = await store.read(ticket.job_id)
    assert (record.job["submits"], record.job["spent_images"]) == ("1", "4")


async def test_another_holder_of_the_same_ticket_may_not_send(store: Store) -> None:
    ticket = await store.admitted()
    for mark, may_send in (("mine", True), ("theirs", False), ("", False)):
        intent = await store.attempts.begin_submit(ticket, lease_ms=HOUR_MS, sync_lease_ms=HOUR_MS, key="k", mark=mark)
        assert (intent is not None) is may_send


async def test_repeated_call_after_the_settlement_may_not_send(store: Store) -> None:
    ticket = await store.admitted()
    await store.attempts.begin_submit(ticket, lease_ms=HOUR_MS, sync_lease_ms=HOUR_MS, key="k", mark="mine")
    await store.attempts.unknown(ticket, look_in_ms=HOUR_MS, message="reset")
    again = await store.attempts.begin_submit(ticket, lease_ms=HOUR_MS, sync_lease_ms=HOUR_MS, key="k", mark="mine")
    assert again is None
