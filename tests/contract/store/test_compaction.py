"""Compaction: a completed job shrinks, and nobody who asks for it notices."""

import orjson
import pytest

from darkroom.jobs import JobRequest
from darkroom.store import keys
from darkroom.store.attempts import Moved, Ticket
from darkroom.store.batch_ids import batch_job_id
from darkroom.store.compaction import compact
from darkroom.store.jobs import ConflictError
from darkroom.store.listing import JobFilter, list_jobs
from darkroom.store.owners import COMPACTED, owners_of
from darkroom.store.records import status_changes
from darkroom.store.view import job_view
from tests.support.stores import FAILED, HOOK, Store

DAY_MS = 86_400_000


async def completed(store: Store, **request: object) -> str:
    ticket = await store.storing(**request)  # type: ignore[arg-type]
    assert await store.complete(ticket) is Moved.DONE
    return ticket.job_id


async def deliver(store: Store, job_id: str, status: str = "delivered") -> str:
    delivery_id = str(store.client.hget(keys.job(job_id), "deliveries"))
    record = await store.deliveries.read(delivery_id)
    assert record is not None
    claimed = await store.deliveries.claim(delivery_id, record["lease"], lease_ms=1_000)
    assert claimed is not None
    assert await store.deliveries.settle(claimed, status, next_in_ms=None, attempts=[]) is not None
    return delivery_id


async def test_a_compacted_job_looks_as_it_did(store: Store) -> None:
    job_id = await completed(
        store, custom_id="panel-1", metadata={"order": "7"}, prompt="a fox, «\x01», 狐", size="4096*4096"
    )
    before = job_view(await store.read(job_id))
    assert await compact(store.jobs, [job_id]) == 1
    assert job_view(await store.read(job_id)) == before
    assert status_changes((await store.read(job_id)).job)[-1].status == "completed"


async def test_nothing_else_is_left_of_it(store: Store) -> None:
    job_id = await completed(store, webhook=HOOK)
    await deliver(store, job_id)
    left_ms = store.client.pttl(keys.job(job_id))
    await compact(store.jobs, [job_id])
    assert [name for name in store.cell().values if job_id in name] == [keys.compacted(job_id)]
    assert [*store.cell().under("event:"), *store.cell().under("delivery:"), *store.cell().under("prediction:")] == []
    assert left_ms - 10_000 < store.client.pttl(keys.compacted(job_id)) <= left_ms
    assert job_view(await store.read(job_id))["webhook_status"] == "delivered"


async def test_attempts_before_and_late_outputs_stay(store: Store) -> None:
    first = await store.generating()
    assert await store.attempts.time_out(first, FAILED) is Moved.DONE
    await store.jobs.retry(first.job_id, fresh=True)
    [second] = (await store.admit()).tickets
    await store.begin(second)
    await store.accept(second, "p-second")
    for ticket in (first, await store.ticket(first.job_id)):
        handed = await store.hand_over(await store.ticket(ticket.job_id, ticket.attempt))
        await store.complete(handed)
    before = job_view(await store.read(first.job_id))
    assert (len(before["late_outputs"]), len(before["attempts"])) == (1, 2)
    assert await compact(store.jobs, [first.job_id]) == 1
    assert job_view(await store.read(first.job_id)) == before


async def test_it_is_found_by_what_it_is(store: Store) -> None:
    job_id = await completed(store, custom_id="panel-1", metadata={"order": "7"})
    await completed(store)
    await compact(store.jobs, [job_id])
    for wanted in (JobFilter("a", custom_id="panel-1"), JobFilter("a", metadata={"order": "7"})):
        found, _ = await list_jobs(store.jobs, wanted, limit=10)
        assert [record.job_id for record in found] == [job_id]


async def test_it_can_not_be_moved(store: Store) -> None:
    job_id = await completed(store)
    await compact(store.jobs, [job_id])
    before = store.cell().values
    for call in (
        store.jobs.cancel(job_id),
        store.jobs.retry(job_id, fresh=True),
        store.jobs.resolve(job_id, "give_up", by="ops"),
    ):
        with pytest.raises(ConflictError):
            await call
    late = Ticket(job_id, 1, 9)
    assert await store.attempts.failed(late, FAILED) is Moved.STALE
    assert await store.complete(late) is Moved.STALE
    assert await compact(store.jobs, [job_id]) == 0
    assert store.cell().values == before


async def test_its_prediction_stays_owned(store: Store) -> None:
    job_id = await completed(store)
    await compact(store.jobs, [job_id])
    assert await owners_of(store.redis, [f"p-{job_id}", "nobody's"]) == {f"p-{job_id}": COMPACTED}
    assert DAY_MS * 8 < store.client.pttl(next(store.client.scan_iter(keys.owned(0)[:-1] + "*"))) <= DAY_MS * 9


async def test_its_prediction_is_not_given_to_another_job(store: Store) -> None:
    job_id = await completed(store)
    await compact(store.jobs, [job_id])
    open_ticket = await store.unconfirmed()
    error = FAILED.model_copy(update={"code": "submit_unconfirmed", "retryable": False})
    assert await store.attempts.failed(open_ticket, error) is Moved.DONE
    assert await store.accept(open_ticket, f"p-{job_id}") is Moved.FOREIGN
    with pytest.raises(ConflictError, match="another job"):
        await store.jobs.resolve(open_ticket.job_id, "adopt", prediction_id=f"p-{job_id}", by="ops")


@pytest.mark.parametrize("end", ["failed", "canceled"])
async def test_what_may_go_on_is_left_whole(store: Store, end: str) -> None:
    ticket = await store.generating()
    if end == "failed":
        await store.attempts.failed(ticket, FAILED)
    else:
        await store.jobs.cancel(ticket.job_id)
    assert await compact(store.jobs, [ticket.job_id]) == 0
    assert (await store.jobs.retry(ticket.job_id)).resumed


@pytest.mark.parametrize("status", ["pending", "exhausted", "gone"])
async def test_a_webhook_that_was_not_delivered_keeps_its_job_whole(store: Store, status: str) -> None:
    job_id = await completed(store, webhook=HOOK)
    if status != "pending":
        await deliver(store, job_id, status)
    assert await compact(store.jobs, [job_id]) == 0
    delivery_id = str(store.client.hget(keys.job(job_id), "deliveries"))
    assert await store.deliveries.redeliver(delivery_id)


async def test_a_job_whose_batch_goes_on_is_left_whole(store: Store) -> None:
    batch = await store.batch({}, {})
    first, _ = (await store.admit()).tickets
    await store.begin(first)
    await store.accept(first, "p1")
    await store.complete(await store.hand_over(await store.ticket(first.job_id)))
    assert await compact(store.jobs, [batch_job_id(batch, 1)]) == 0


async def test_the_sweep_of_finished_jobs_finds_what_is_old_enough(store: Store) -> None:
    old, young = await completed(store), await completed(store)
    store.client.hincrby(keys.job(old), "finished_ms", -DAY_MS)
    store.client.hset(keys.job(young), "finished_ms", int(store.client.time()[0]) * 1000)
    due = await store.sweep("t:a:completed:", compact_ms=DAY_MS)
    assert due.old == [old]
    assert (await store.sweep("t:a:completed:")).old == []
    await compact(store.jobs, due.old)
    assert (await store.sweep("t:a:completed:", compact_ms=DAY_MS)).old == []
    assert {old, young} == set(store.cell().at(keys.index("a", "completed")))


@pytest.mark.parametrize("status", ["pending", "exhausted"])
async def test_the_sweep_names_none_whose_webhook_was_not_delivered(store: Store, status: str) -> None:
    job_id = await completed(store, webhook=HOOK)
    if status != "pending":
        await deliver(store, job_id, status)
    store.client.hincrby(keys.job(job_id), "finished_ms", -DAY_MS)
    assert (await store.sweep("t:a:completed:", compact_ms=DAY_MS)).old == []
    await store.deliveries.redeliver(str(store.client.hget(keys.job(job_id), "deliveries")))
    await deliver(store, job_id)
    assert (await store.sweep("t:a:completed:", compact_ms=DAY_MS)).old == [job_id]


async def test_it_leaves_the_index_when_its_time_is_over(store: Store) -> None:
    job_id = await completed(store)
    await compact(store.jobs, [job_id])
    store.client.delete(keys.compacted(job_id))
    await store.sweep("t:a:completed:")
    assert store.cell().at(keys.index("a", "completed")) == {}


async def test_a_changed_job_is_not_replaced_by_what_it_was(store: Store) -> None:
    job_id = await completed(store)
    assert await store.jobs.scripts.call("compact", job_id, "4", "", "what it was") == 0
    assert keys.job(job_id) in store.cell().values


async def test_a_webhook_delivered_meanwhile_is_not_forgotten(store: Store) -> None:
    job_id = await completed(store, webhook=HOOK)
    read = await store.read(job_id)
    await deliver(store, job_id)
    assert await store.jobs.scripts.call("compact", job_id, read.job["event_seq"], "pending", "what it was") == 0
    assert job_view(await store.read(job_id))["webhook_status"] == "delivered"


async def test_one_that_can_not_be_packed_holds_up_no_other(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    broken, whole = await completed(store), await completed(store)
    store.client.hset(keys.attempt(broken, 1), "sent_ms", "yesterday")
    assert await compact(store.jobs, [broken, whole]) == 1
    assert keys.job(broken) in store.cell().values
    assert keys.compacted(whole) in store.cell().values
    assert f"job_id={broken}" in capsys.readouterr().out


async def test_a_batch_that_goes_on_again_keeps_what_is_compacted(store: Store) -> None:
    batch = await store.batch({}, {})
    first, second = (await store.admit()).tickets
    for ticket in (first, second):
        await store.begin(ticket)
        await store.accept(ticket, f"p-{ticket.job_id}")
    await store.complete(await store.hand_over(await store.ticket(first.job_id)))
    await store.attempts.failed(await store.ticket(second.job_id), FAILED)
    await store.end_batch(batch)
    done = batch_job_id(batch, 1)
    assert await compact(store.jobs, [done]) == 1
    await store.batches.retry(batch, [])
    await store.batches.sweep(batch, "retry")
    await store.batches.sweep(batch, "retire")
    assert store.client.pttl(keys.compacted(done)) == -1
    assert (await store.status(done), await store.status(batch_job_id(batch, 2))) == ("completed", "generating")
    request = JobRequest.model_validate(orjson.loads((await store.read(done)).job["request"]))
    assert request.prompt == "a fox"
