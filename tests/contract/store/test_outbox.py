"""The outbox: one delivery for each event that a webhook wants, attempted by one holder at a time."""

import orjson
import pytest

from darkroom.store import keys
from darkroom.store.attempts import Moved
from darkroom.store.deliveries import ClaimedDelivery
from darkroom.store.records import JobRecord
from tests.support.stores import FAILED, HOOK, HOUR_MS, Store


async def claimed(store: Store, **hook: object) -> ClaimedDelivery:
    """Cancel a job with a webhook and claim the delivery that tells of it."""
    job_id = await store.post(webhook=HOOK | hook)
    await store.jobs.cancel(job_id)
    [(delivery_id, record)] = await store.deliveries.of_job((await store.read(job_id)).job)
    claim = await store.deliveries.claim(delivery_id, record["lease"], lease_ms=HOUR_MS)
    assert claim is not None
    return claim


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (None, ["job.canceled"]),
        (["job.canceled"], ["job.canceled"]),
        (["job.completed", "job.outputs_late"], []),
    ],
)
async def test_only_wanted_events_are_written(store: Store, events: list[str] | None, told: list[str]) -> None:
    job_id = await store.post(webhook=HOOK | {"events": events})
    await store.jobs.cancel(job_id)
    assert store.events(job_id) == told


async def test_job_without_a_webhook_writes_nothing(store: Store) -> None:
    job_id = await store.post(webhook=None, metadata={"webhook": "x"})
    await store.jobs.cancel(job_id)
    assert list(store.cell().under("event:")) == []


async def test_event_remembers_the_job_as_it_was(store: Store) -> None:
    claim = await claimed(store)
    job_id = claim.delivery["job"]
    await store.jobs.retry(job_id)
    told = JobRecord.from_snapshot(job_id, claim.event["record"])
    assert (told.status, told.attempt, told.late) == ("canceled", {}, {})
    assert claim.event["type"] == claim.delivery["type"] == "job.canceled"
    assert claim.delivery["url"] == HOOK["url"]


async def test_delivery_has_one_holder(store: Store) -> None:
    claim = await claimed(store)
    assert await store.deliveries.claim(claim.delivery_id, "0", lease_ms=1) is None
    later = await store.deliveries.claim(claim.delivery_id, claim.lease, lease_ms=HOUR_MS)
    assert later is not None
    assert not await store.deliveries.settle(claim, "delivered", next_in_ms=None, attempts=[])
    assert await store.deliveries.settle(later, "delivered", next_in_ms=None, attempts=[])


@pytest.mark.parametrize("status", ["delivered", "exhausted", "gone"])
async def test_settled_delivery_rests_and_its_time_runs(store: Store, status: str) -> None:
    claim = await claimed(store)
    assert await store.deliveries.settle(claim, status, next_in_ms=None, attempts=[{"at_ms": 1, "error": "é"}])
    record = await store.deliveries.read(claim.delivery_id)
    assert record is not None
    assert (record["status"], orjson.loads(record["attempts"])) == (status, [{"at_ms": 1, "error": "é"}])
    assert (await store.sweep(f"d:{claim.delivery_id}")).deliveries == []
    assert store.client.pttl(keys.delivery(claim.delivery_id)) > 0


async def test_failed_attempt_comes_again_when_its_time_is_there(store: Store) -> None:
    claim = await claimed(store)
    assert await store.deliveries.settle(claim, "pending", next_in_ms=HOUR_MS, attempts=[{"at_ms": 1}])
    assert (await store.sweep()).deliveries == []
    [due] = (await store.sweep(f"d:{claim.delivery_id}")).deliveries
    again = await store.deliveries.claim(due.delivery_id, due.lease, lease_ms=HOUR_MS)
    assert again is not None
    assert (again.attempts, again.delivery["tries"], again.event) == ([{"at_ms": 1}], "1", claim.event)


async def test_finished_delivery_is_sent_again_under_the_same_event(store: Store) -> None:
    claim = await claimed(store)
    await store.deliveries.settle(claim, "exhausted", next_in_ms=None, attempts=[])
    assert await store.deliveries.redeliver(claim.delivery_id)
    [due] = (await store.sweep()).deliveries
    again = await store.deliveries.claim(due.delivery_id, due.lease, lease_ms=HOUR_MS)
    assert again is not None
    assert (again.delivery["event"], again.delivery["tries"]) == (claim.delivery["event"], "0")


async def test_pending_delivery_is_brought_forward(store: Store) -> None:
    claim = await claimed(store)
    await store.deliveries.settle(claim, "pending", next_in_ms=HOUR_MS, attempts=[])
    assert await store.deliveries.redeliver(claim.delivery_id)
    assert len((await store.sweep()).deliveries) == 1


async def test_redelivery_during_an_attempt_waits_for_its_end(store: Store) -> None:
    claim = await claimed(store)
    for _ in range(3):
        assert await store.deliveries.redeliver(claim.delivery_id)
    assert (await store.sweep()).deliveries == []
    assert await store.deliveries.settle(claim, "gone", next_in_ms=None, attempts=[])
    [due] = (await store.sweep()).deliveries
    record = await store.deliveries.read(due.delivery_id)
    assert record is not None
    assert (due.delivery_id, record["status"], record["tries"]) == (claim.delivery_id, "pending", "0")


async def test_redelivery_during_an_attempt_that_delivers_is_done_with_it(store: Store) -> None:
    claim = await claimed(store)
    assert await store.deliveries.redeliver(claim.delivery_id)
    assert await store.deliveries.settle(claim, "delivered", next_in_ms=None, attempts=[])
    assert (await store.sweep()).deliveries == []


async def test_delivery_that_is_no_longer_kept_cannot_be_sent_again(store: Store) -> None:
    assert not await store.deliveries.redeliver("dlv_none")
    assert await store.deliveries.read("dlv_none") is None


async def test_delivery_outlives_its_job(store: Store) -> None:
    claim = await claimed(store)
    store.let_expire(claim.delivery["job"])
    await store.trim()
    assert await store.deliveries.settle(claim, "delivered", next_in_ms=None, attempts=[])


async def test_job_lists_its_latest_deliveries_and_all_of_them_are_sent(store: Store) -> None:
    job_id = await store.post(webhook=HOOK)
    for _ in range(40):
        await store.jobs.cancel(job_id)
        await store.jobs.retry(job_id)
    listed = await store.deliveries.of_job((await store.read(job_id)).job)
    assert len(listed) == 32
    called = len((await store.sweep()).deliveries)
    assert called + sum(host.waiting for host in await store.deliveries.hosts()) == 40


async def test_ids_made_by_scripts_sort_by_time_and_never_repeat(store: Store) -> None:
    job_id = await store.post(webhook=HOOK)
    for _ in range(10):
        await store.jobs.cancel(job_id)
        await store.jobs.retry(job_id)
    ids = (await store.read(job_id)).job["deliveries"].split(",")
    assert sorted(set(ids)) == ids


async def test_completion_writes_event_and_status_together(store: Store) -> None:
    ticket = await store.storing(webhook=HOOK)
    assert await store.complete(ticket) is Moved.DONE
    [(_, event)] = store.cell().under("event:")
    told = JobRecord.from_snapshot(ticket.job_id, event["record"])
    assert told.job == {
        name: value for name, value in (await store.read(ticket.job_id)).job.items() if name != "deliveries"
    }
    assert told.attempt == (await store.read(ticket.job_id)).attempt


async def test_failure_is_told_with_its_reason(store: Store) -> None:
    ticket = await store.generating(webhook=HOOK)
    await store.attempts.failed(ticket, FAILED)
    [(_, event)] = store.cell().under("event:")
    assert orjson.loads(JobRecord.from_snapshot(ticket.job_id, event["record"]).job["error"])["code"] == FAILED.code
