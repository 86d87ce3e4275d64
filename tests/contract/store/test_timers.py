"""The due set: what is due is given out once, put off by its lease, and never lost."""

import pytest

from darkroom.store import keys
from darkroom.store.attempts import Moved, Ticket
from darkroom.timers import DueDelivery, Look
from tests.support.stores import FAILED, HOOK, HOUR_MS, Store


@pytest.mark.parametrize("state", ["admitted", "submitting", "unconfirmed", "generating", "storing"])
async def test_due_attempt_is_leased_with_all_that_handling_needs(store: Store, state: str) -> None:
    ticket: Ticket = await getattr(store, state)()
    due = await store.sweep(ticket.due_member)
    [entry] = due.attempts
    assert (entry.ticket, entry.state, entry.current, entry.lane) == (ticket, state, True, "default")
    assert entry.prediction_id == (f"p-{ticket.job_id}" if state in ("generating", "storing") else "")
    assert (await store.sweep()).attempts == []


async def test_attempt_of_an_ended_job_is_not_current(store: Store) -> None:
    ticket = await store.generating()
    await store.jobs.cancel(ticket.job_id)
    [entry] = (await store.sweep(ticket.due_member)).attempts
    assert not entry.current


async def test_no_more_is_leased_than_asked_for(store: Store) -> None:
    await store.post()
    await store.post()
    tickets = (await store.admit()).tickets
    members = [ticket.due_member for ticket in tickets]
    assert len((await store.sweep(*members, most=1)).attempts) == 1
    assert len((await store.sweep(most=5)).attempts) == 1


async def test_sweep_says_when_the_next_is_due_and_how_long_the_line_is(store: Store) -> None:
    assert (await store.sweep()).next_ms is None
    await store.generating()
    await store.post()
    due = await store.sweep()
    assert due.next_ms is not None
    assert 0 < due.next_ms - due.now_ms <= 2_000
    assert due.line_depth == 1


async def test_entry_that_nobody_can_read_is_given_out_once(store: Store) -> None:
    assert len((await store.sweep("?:nonsense")).unknown) == 1
    assert (await store.sweep()).unknown == []


async def test_timers_of_what_is_gone_vanish(store: Store) -> None:
    due = await store.sweep("j:job_none:1", "d:dlv_none")
    assert (due.attempts, due.deliveries, store.cell().at(keys.DUE)) == ([], [], {})


async def test_look_is_put_off_and_counted_under_its_lease_only(store: Store) -> None:
    ticket = await store.generating()
    old = Ticket(ticket.job_id, ticket.attempt, ticket.lease - 1)
    await store.timers.reschedule([Look(old, 9, HOUR_MS), Look(ticket, 4, HOUR_MS), Look(old, 9, 1)])
    assert (await store.read(ticket.job_id)).attempt["polls"] == "4"
    assert (await store.sweep(ticket.due_member)).attempts[0].polls == 4


async def test_many_looks_are_put_off_in_one_call(store: Store) -> None:
    ticket = await store.generating()
    await store.timers.reschedule([Look(ticket, number, 5_000) for number in range(250)])
    assert (await store.read(ticket.job_id)).attempt["polls"] == "249"


async def test_renewal_names_the_leases_that_are_lost(store: Store) -> None:
    held, lost = await store.storing(webhook=HOOK), await store.storing()
    await store.jobs.cancel(held.job_id)
    [delivery] = [name for name in store.cell().at(keys.DUE) if name.startswith("d:")]
    await store.attempts.claim_store(lost, lease_ms=HOUR_MS)
    leases = {held.due_member: held.lease, lost.due_member: lost.lease, delivery: 0, "d:dlv_none": 3}
    assert sorted(await store.timers.renew(leases, lease_ms=HOUR_MS)) == ["d:dlv_none", lost.due_member]
    assert await store.timers.renew({}, lease_ms=1) == []


async def test_renewal_revives_nothing_that_has_ended(store: Store) -> None:
    ticket = await store.storing()
    await store.complete(ticket)
    assert await store.timers.renew({ticket.due_member: ticket.lease}, lease_ms=1) == [ticket.due_member]
    assert ticket.due_member not in store.cell().at(keys.DUE)


async def test_delivery_is_given_out_with_its_lease(store: Store) -> None:
    job_id = await store.post(webhook=HOOK)
    await store.jobs.cancel(job_id)
    [delivery_id] = (await store.read(job_id)).job["deliveries"].split(",")
    assert (await store.sweep()).deliveries == [DueDelivery(delivery_id, "0")]
    assert (await store.sweep()).deliveries == []


async def test_deadline_ends_a_job_that_waits(store: Store) -> None:
    job_id = await store.post(expires_in=60, webhook=HOOK)
    await store.timers.expire([job_id])
    assert await store.status(job_id) == "queued"
    store.client.hincrby(keys.job(job_id), "queued_ms", -61_000)
    assert (await store.sweep(f"x:{job_id}")).deadlines == [job_id]
    await store.timers.expire([job_id])
    assert (await store.status(job_id), store.events(job_id)) == ("expired", ["job.expired"])


async def test_admitted_job_is_sent_although_its_deadline_passes(store: Store) -> None:
    ticket = await store.admitted(expires_in=60)
    store.client.hincrby(keys.job(ticket.job_id), "queued_ms", -HOUR_MS)
    await store.timers.expire([ticket.job_id])
    assert await store.status(ticket.job_id) == "queued"
    await store.attempts.unadmit([ticket])
    await store.timers.expire([ticket.job_id])
    assert await store.status(ticket.job_id) == "expired"


async def test_time_outside_of_the_line_is_no_waiting(store: Store) -> None:
    ticket = await store.generating(expires_in=60)
    for name in (keys.job(ticket.job_id), keys.attempt(ticket.job_id, 1)):
        store.client.hincrby(name, "queued_ms" if "job:" in name else "sent_ms", -HOUR_MS)
    assert await store.attempts.failed(ticket, FAILED, max_attempts=2) is Moved.OTHER
    await store.timers.expire([ticket.job_id])
    assert await store.status(ticket.job_id) == "queued"


async def test_expiry_called_for_a_job_that_is_gone_or_moved_on_does_nothing(store: Store) -> None:
    ticket = await store.generating(expires_in=60)
    await store.timers.expire([ticket.job_id, "job_none"])
    assert await store.status(ticket.job_id) == "generating"


async def test_failing_expiry_is_raised_after_the_others_were_tried(store: Store) -> None:
    first = await store.post(expires_in=60)
    store.client.hincrby(keys.job(first), "queued_ms", -HOUR_MS)
    store.client.set(keys.job("job_broken"), "no hash")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await store.timers.expire(["job_broken", first])
    store.client.delete(keys.job("job_broken"))
    assert await store.status(first) == "expired"


async def test_indexes_are_trimmed_of_jobs_whose_time_is_over(store: Store) -> None:
    gone, kept = await store.post(), await store.post()
    for job_id in (gone, kept):
        await store.jobs.cancel(job_id)
    store.let_expire(gone)
    await store.trim()
    assert list(store.cell().at(keys.index("a", "canceled"))) == [kept]


async def test_long_index_is_trimmed_slice_by_slice(store: Store) -> None:
    store.client.zadd(keys.index("a", "canceled"), {f"job_{number:04}": 0 for number in range(700)})
    await store.post()
    await store.trim(rounds=3)
    assert len(store.cell().at(keys.index("a", "canceled"))) == 200
    assert store.cell().due("t") == ["a:canceled:job_0499"]
    await store.trim(rounds=1)
    assert store.cell().at(keys.index("a", "canceled")) == {}
    assert store.cell().due("t") == ["a:expired:"]


async def test_trimming_many_tenants_takes_one_slice_a_sweep(store: Store) -> None:
    for tenant in ("a", "b", "c"):
        await store.post(tenant)
    await store.sweep(*(f"t:{name}" for name in store.cell().due("t")))
    assert sorted(store.cell().due("t")) == ["a:failed:", "b:completed:", "c:completed:"]
    scores = store.cell().at(keys.DUE)
    assert scores["t:c:completed:"] > scores["t:b:completed:"]
