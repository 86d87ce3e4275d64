"""Batches: accepted whole or not at all, counted, canceled, retried and ended, whatever comes between."""

import pytest

from darkroom.jobs import JobRequest, Webhook
from darkroom.store import keys
from darkroom.store.attempts import Moved
from darkroom.store.batch_ids import batch_job_id, line_of, new_batch_id
from darkroom.store.batches import BatchRecord
from darkroom.store.jobs import BudgetError, ConflictError, LineFullError
from darkroom.store.listing import JobFilter, list_jobs
from darkroom.store.uploads import MOST_UPLOADS, BatchGoneError, Line, TooManyUploadsError
from tests.support.stores import FAILED, UNSETTLED, Store


async def read(store: Store, batch: str) -> BatchRecord:
    record = await store.batches.read(batch)
    assert record is not None
    return record


async def counts(store: Store, batch: str) -> dict[str, int]:
    """Give how many of its jobs are in which status, those that are none left out."""
    fields = (await read(store, batch)).fields
    return {name[2:]: int(count) for name, count in fields.items() if name.startswith("n:") and count != "0"}


async def status(store: Store, batch: str) -> str:
    return (await read(store, batch)).fields["status"]


def events(store: Store) -> list[str]:
    """Give the types of the events told of anything, oldest first."""
    return [record["type"] for _, record in sorted(store.cell().under("event:"))]


async def fail(store: Store, batch: str, line: int, error: object = FAILED) -> None:
    """Let the job of a line, which was admitted, fail upstream."""
    ticket = await store.ticket(batch_job_id(batch, line))
    await store.begin(ticket)
    ticket = await store.ticket(ticket.job_id)
    assert await store.attempts.failed(ticket, error, created_nothing=True) is Moved.DONE  # type: ignore[arg-type]


async def store_all(store: Store, batch: str, *lines: int) -> None:
    """Let the jobs of these lines, which were admitted, complete."""
    for line in lines:
        ticket = await store.ticket(batch_job_id(batch, line))
        await store.begin(ticket)
        await store.accept(ticket, f"p-{ticket.job_id}")
        await store.complete(await store.hand_over(await store.ticket(ticket.job_id)))


def test_ids_of_a_batch_and_its_jobs_are_made_from_each_other() -> None:
    batch = new_batch_id()
    for line in (1, 31, 32, 50_000, 999_999):
        assert line_of(batch_job_id(batch, line)) == line
    assert batch_job_id(batch, 2) > batch_job_id(batch, 1)
    assert new_batch_id() != batch


async def test_a_batch_is_nowhere_to_be_seen_before_it_is_linked(store: Store) -> None:
    batch = await store.batch({}, {"priority": "high"}, link=False)
    assert (await store.admit()).tickets == []
    assert await list_jobs(store.jobs, JobFilter(tenant="a"), limit=10) == ([], None)
    assert store.cell().at(keys.DEPTH) == {}
    await store.uploads.drop(batch)
    assert await store.batches.read(batch) is None
    kinds = {name.partition(":")[0] for name, _ in store.cell().under("")}
    assert not kinds & {"job", "batch", "batches", "flow", "flows", "idem", "index"}
    assert store.cell().at(keys.DUE) == {}


async def test_a_linked_batch_is_admitted_in_the_order_of_its_lines_by_priority(store: Store) -> None:
    batch = await store.batch({}, {"priority": "low"}, {"priority": "high"}, {})
    admitted = [line_of(ticket.job_id) for ticket in (await store.admit()).tickets]
    assert admitted == [3, 1, 4, 2]
    assert await counts(store, batch) == {"queued": 4}
    found, _ = await list_jobs(store.jobs, JobFilter(tenant="a", status="queued"), limit=10)
    assert [line_of(record.job_id) for record in found] == [4, 3, 2, 1]


async def test_a_batch_takes_turns_with_its_tenants_other_jobs(store: Store) -> None:
    await store.batch(*[{}] * 20)
    loose = await store.post()
    assert loose in [ticket.job_id for ticket in (await store.admit(most=3)).tickets]


async def test_its_jobs_are_found_by_the_batch_page_by_page(store: Store) -> None:
    batch = await store.batch(*[{"custom_id": f"c{n}"} for n in range(1, 8)])
    await store.batch({}, {})
    wanted = JobFilter(tenant="a", batch_id=batch)
    first, cursor = await list_jobs(store.jobs, wanted, limit=4)
    rest, end = await list_jobs(store.jobs, wanted, limit=4, cursor=cursor)
    assert [line_of(record.job_id) for record in [*first, *rest]] == [7, 6, 5, 4, 3, 2, 1]
    assert end is None
    assert await list_jobs(store.jobs, JobFilter(tenant="b", batch_id=batch), limit=4) == ([], None)


async def test_the_same_key_gives_the_first_batch_and_its_bodys_fingerprint(store: Store) -> None:
    batch = await store.batch({}, idempotency_key="k")
    again = await store.uploads.begin("a", webhook=None, metadata={}, idempotency_key="k", max_queued=9)
    assert (again.kind, again.batch_id, again.fingerprint) == ("replayed", batch, "f")
    with pytest.raises(ConflictError, match="used with another body"):
        await store.jobs.enqueue("a", JobRequest(prompt="x"), idempotency_key="k")


async def test_a_key_is_in_progress_while_its_upload_lives_and_free_once_that_is_dropped(store: Store) -> None:
    batch = await store.batch({}, link=False, idempotency_key="k")
    begin = {"webhook": None, "metadata": {}, "idempotency_key": "k", "max_queued": 9}
    assert (await store.uploads.begin("a", **begin)).kind == "in_progress"  # type: ignore[arg-type]
    await store.uploads.drop(batch)
    second = await store.uploads.begin("a", **begin)  # type: ignore[arg-type]
    assert second.kind == "begun"
    store.client.hset(keys.batch(second.batch_id), "silent_ms", 1)  # its uploader was killed
    third = await store.uploads.begin("a", **begin)  # type: ignore[arg-type]
    assert third.kind == "begun"
    with pytest.raises(BatchGoneError):
        await store.uploads.stage(second.batch_id, [Line.of(1, JobRequest(prompt="x"))])
    await store.batches.sweep(second.batch_id, "drop")
    await store.uploads.drop(third.batch_id)


async def test_what_a_dead_uploader_left_is_swept_by_its_timer(store: Store) -> None:
    batch = await store.batch(*[{}] * 3, link=False)
    assert await store.batches.sweep_slice(batch, "drop"), "its uploader lives"
    assert keys.job(batch_job_id(batch, 1)) in store.cell().values
    store.client.hset(keys.batch(batch), "silent_ms", 1)
    assert (batch, "drop") in (await store.sweep(f"s:{batch}:drop")).sweeps
    await store.batches.sweep(batch, "drop")
    assert keys.job(batch_job_id(batch, 1)) not in store.cell().values


async def test_a_tenant_has_so_many_uploads_at_once_and_no_more(store: Store) -> None:
    async def begin(tenant: str = "a") -> str:
        begun = await store.uploads.begin(tenant, webhook=None, metadata={}, idempotency_key=None, max_queued=9)
        return begun.batch_id

    first, second, *_ = [await begin() for _ in range(MOST_UPLOADS)]
    with pytest.raises(TooManyUploadsError):
        await begin()
    await begin("b")
    await store.uploads.drop(first)
    await begin()
    store.client.zadd(keys.uploads("a"), {second: 1})  # its uploader was silent for too long
    await begin()
    with pytest.raises(TooManyUploadsError):
        await begin()


async def test_a_key_that_made_a_job_makes_no_batch(store: Store) -> None:
    await store.jobs.enqueue("a", JobRequest(prompt="x"), idempotency_key="k")
    with pytest.raises(ConflictError, match="used for a job"):
        await store.batch({}, link=False, idempotency_key="k")


async def test_a_listing_forgets_batches_that_are_gone(store: Store) -> None:
    oldest = [await store.batch({}), await store.batch({})]
    for _ in range(3):
        batch = await store.batch({})
        await store.jobs.cancel(batch_job_id(batch, 1))
        await store.end_batch(batch)
        store.client.delete(keys.batch(batch))
    found, _ = await store.batches.newest("a", before=None, limit=10)
    assert [record.batch_id for record in found] == sorted(oldest, reverse=True)
    assert store.client.zcard(keys.batches("a")) == 2


async def test_a_batch_that_the_tenants_line_has_no_room_for_is_refused_whole(store: Store) -> None:
    await store.post()
    batch = await store.batch({}, {}, link=False)
    with pytest.raises(LineFullError):
        await store.uploads.link(batch, fingerprint="f", max_queued=2)
    assert len((await store.admit()).tickets) == 1
    await store.uploads.drop(batch)


@pytest.mark.parametrize(("caps", "resets"), [({":batch": 4}, False), ({"a": 4}, False), ({"a": 6}, True)])
async def test_a_batch_over_its_budget_is_refused_where_that_is_wanted(
    caps: dict[str, int], resets: bool, store: Store
) -> None:
    await store.budgets.apply(caps)
    await store.post(max_images=2)
    batch = await store.batch({"max_images": 5}, link=False) if resets else await store.batch(*[{}] * 5, link=False)
    with pytest.raises(BudgetError) as refused:
        await store.uploads.link(batch, fingerprint="f", max_queued=9, refuse_over_budget=True)
    assert (refused.value.resets_in_s is not None) == resets
    await store.uploads.drop(batch)


async def test_counts_follow_the_jobs_and_the_last_one_ends_the_batch(store: Store) -> None:
    batch = await store.batch(*[{"max_images": 2}] * 3)
    await store.admit()
    await store_all(store, batch, 1, 2)
    assert await counts(store, batch) == {"completed": 2, "queued": 1}
    assert await status(store, batch) == "running"
    await fail(store, batch, 3)
    assert await counts(store, batch) == {"completed": 2, "failed": 1}
    fields = (await read(store, batch)).fields
    assert (fields["status"], fields["spent_images"], fields["delivered_images"]) == ("completed", "4", "2")
    await store.end_batch(batch)
    assert store.client.hmget(keys.TOTALS, "batches_accepted", "batches_completed") == ["1", "1"]


async def test_jobs_live_until_their_batch_has_ended(store: Store) -> None:
    batch = await store.batch({}, {})
    await store.admit()
    await store_all(store, batch, 1)
    assert store.client.pttl(keys.job(batch_job_id(batch, 1))) == -1
    await store_all(store, batch, 2)
    for line in (1, 2):
        assert store.client.pttl(keys.job(batch_job_id(batch, line))) == -1, "what became of it is not written down yet"
    assert store.client.pttl(keys.batch(batch)) == -1
    await store.end_batch(batch)
    assert 0 < store.client.pttl(keys.job(batch_job_id(batch, 1))) <= 604_800_000
    assert store.client.pttl(keys.batch(batch)) > store.client.pttl(keys.job(batch_job_id(batch, 1)))


async def test_cancel_admits_nothing_more_and_ends_what_waits(store: Store) -> None:
    batch = await store.batch(*[{}] * 5)
    admitted = (await store.admit(most=2)).tickets
    await store.begin(admitted[0])
    await store.batches.cancel(batch)
    assert (await store.admit()).tickets == []
    intent = await store.attempts.begin_submit(
        admitted[1], lease_ms=1_000, sync_lease_ms=1_000, key="k", mark="", calls_back=False
    )
    assert intent is None or intent.send == 0, "a job of a canceled batch must not be sent any more"
    await store.batches.sweep(batch, "cancel")
    assert await counts(store, batch) == {"submitting": 1, "canceled": 4}
    assert await status(store, batch) == "running"
    await store.accept(admitted[0], "p")
    await store.complete(await store.hand_over(await store.ticket(admitted[0].job_id)))
    assert (await counts(store, batch), await status(store, batch)) == ({"completed": 1, "canceled": 4}, "canceled")
    with pytest.raises(ConflictError, match="finished"):
        await store.batches.cancel(batch)
    await store.end_batch(batch)


async def test_a_job_that_comes_back_into_a_canceled_batch_ends(store: Store) -> None:
    batch = await store.batch({}, {}, {})
    one, two, _ = (await store.admit()).tickets
    await store.begin(one)
    await store.batches.cancel(batch)
    assert await store.attempts.returned(await store.ticket(one.job_id), "not_now") is Moved.DONE
    await store.attempts.unadmit([two])
    assert await counts(store, batch) == {"canceled": 2, "queued": 1}
    await store.batches.sweep(batch, "cancel")
    assert (await read(store, batch)).fields.get("spent_images", "0") == "0"
    await store.end_batch(batch)


async def test_what_upstream_fails_after_a_cancel_is_not_bought_again(store: Store) -> None:
    batch = await store.batch({})
    [ticket] = (await store.admit()).tickets
    await store.begin(ticket)
    await store.accept(ticket, "p")
    await store.batches.cancel(batch)
    assert await store.attempts.failed(await store.ticket(ticket.job_id), FAILED, max_attempts=2) is Moved.DONE
    assert await counts(store, batch) == {"failed": 1}
    await store.end_batch(batch)


async def test_what_a_retry_asks_about_once_more_is_not_bought_again_after_a_cancel(store: Store) -> None:
    batch = await store.batch({}, {})
    one, two = (await store.admit()).tickets
    for ticket in (one, two):
        await store.begin(ticket)
        await store.accept(ticket, f"p-{ticket.job_id}")
    assert await store.attempts.failed(await store.ticket(one.job_id), FAILED, max_attempts=1) is Moved.DONE
    await store.batches.retry(batch, [])
    await store.batches.sweep(batch, "retry")
    assert await counts(store, batch) == {"generating": 2}
    await store.batches.cancel(batch)
    assert await store.attempts.failed(await store.ticket(one.job_id), FAILED, max_attempts=2) is Moved.DONE
    assert await counts(store, batch) == {"failed": 1, "generating": 1}
    assert (await store.admit()).tickets == []
    await store.batches.sweep(batch, "cancel")


async def test_each_cancel_means_what_was_retried_before_it_too(store: Store) -> None:
    batch = await store.batch({}, {}, {})
    [ticket] = (await store.admit(1)).tickets
    await store.begin(ticket)
    await store.accept(ticket, "p")  # the batch goes on whatever is canceled of it
    await store.batches.cancel(batch)
    await store.batches.sweep(batch, "cancel")
    await store.batches.retry(batch, ["canceled"])
    await store.batches.sweep(batch, "retry")
    assert await counts(store, batch) == {"generating": 1, "queued": 2}
    await store.batches.cancel(batch)
    assert (await store.admit()).tickets == []
    await store.batches.sweep(batch, "cancel")
    assert await counts(store, batch) == {"generating": 1, "canceled": 2}


async def test_a_retried_job_of_a_canceled_batch_goes_on_and_the_rest_does_not(store: Store) -> None:
    batch = await store.batch(*[{}] * 4)
    await store.jobs.cancel(batch_job_id(batch, 3))
    await store.batches.cancel(batch)
    await store.jobs.retry(batch_job_id(batch, 3))  # before the sweep has come to anything
    assert [line_of(ticket.job_id) for ticket in (await store.admit()).tickets] == [3]
    await store.batches.sweep(batch, "cancel")
    assert await counts(store, batch) == {"queued": 1, "canceled": 3}


async def test_retry_lets_those_go_on_that_are_worth_it_and_counts_the_rest(store: Store) -> None:
    batch = await store.batch(*[{}] * 5)
    await store.admit()
    await store_all(store, batch, 1)
    await fail(store, batch, 2)
    await fail(store, batch, 3, FAILED.model_copy(update={"code": "content_moderation", "retryable": False}))
    ticket = await store.ticket(batch_job_id(batch, 4))
    await store.begin(ticket)
    await store.attempts.unknown(ticket, look_in_ms=0, message="reset")
    await store.attempts.failed(await store.ticket(ticket.job_id), UNSETTLED)
    await store.jobs.cancel(batch_job_id(batch, 5))
    assert await status(store, batch) == "completed"  # only what its own cancel ended makes a batch canceled
    await store.batches.retry(batch, [])
    await store.batches.sweep(batch, "retry")
    fields = (await read(store, batch)).fields
    retried = {name: count for name, count in fields.items() if name.startswith("retry_") and name != "retry_include"}
    assert retried == {
        "retry_new": "1",
        "retry_images": "1",
        "retry_skip:content_moderation": "1",
        "retry_skip:submit_unconfirmed": "1",
    }
    assert fields["status"] == "running"
    await store.batches.sweep(batch, "retire")
    assert store.client.pttl(keys.job(batch_job_id(batch, 1))) == -1, "its batch goes on"
    await store.batches.retry(batch, ["content_moderation", "submit_unconfirmed", "canceled"])
    await store.batches.sweep(batch, "retry")
    assert await counts(store, batch) == {"completed": 1, "queued": 4}


async def test_a_retry_counts_as_cost_what_upstream_has_failed_and_is_asked_about_once_more(store: Store) -> None:
    batch = await store.batch({"max_images": 3}, {"max_images": 2})
    [first, second] = (await store.admit()).tickets
    for ticket, prediction in ((first, "p-1"), (second, "p-2")):
        await store.begin(ticket)
        await store.accept(ticket, prediction)
    await store.attempts.failed(await store.ticket(first.job_id), FAILED)
    held = await store.hand_over(await store.ticket(second.job_id))
    await store.attempts.failed(held, FAILED)  # its images are still there to be copied
    await store.batches.retry(batch, [])
    await store.batches.sweep(batch, "retry")
    fields = (await read(store, batch)).fields
    assert (fields.get("retry_resumed"), fields.get("retry_new"), fields.get("retry_images")) == ("2", None, "3")


@pytest.mark.parametrize("canceled", [False, True])
async def test_a_batch_does_not_end_while_a_retry_goes_through_it(canceled: bool, store: Store) -> None:
    batch = await store.batch({}, {})
    for line in (1, 2):
        await store.jobs.cancel(batch_job_id(batch, line))
    await store.batches.retry(batch, ["canceled"])
    assert not await store.batches.scripts.call("sweep_retry", batch, 1)  # and whoever swept dies
    await store.jobs.cancel(batch_job_id(batch, 1))
    assert await status(store, batch) == "running"
    assert await store.batches.claim_manifest(batch, lease_ms=1_000) is None, "it was told of although more is to come"
    if canceled:
        await store.batches.cancel(batch)
        assert await status(store, batch) == "canceled"
        return
    await store.batches.sweep(batch, "retry")
    assert await counts(store, batch) == {"queued": 1, "canceled": 1}
    await store.jobs.cancel(batch_job_id(batch, 2))
    await store.end_batch(batch)


async def test_two_retries_of_a_batch_do_not_mix(store: Store) -> None:
    batch = await store.batch({})
    await store.batches.retry(batch, ["canceled"])
    await store.batches.retry(batch, ["canceled"])
    with pytest.raises(ConflictError, match="under way"):
        await store.batches.retry(batch, [])
    await store.batches.sweep(batch, "retry")


async def test_who_wants_it_is_told_of_the_batch_once_it_is_written_down(store: Store) -> None:
    hook = Webhook(url="https://example.com/batches")
    batch = await store.batch({}, webhook=hook)
    await store.jobs.cancel(batch_job_id(batch, 1))
    assert events(store) == []
    await store.batches.sweep(batch, "retire")
    lease, _ = await store.batches.claim_manifest(batch, lease_ms=1_000) or (0, None)
    newer, _ = await store.batches.claim_manifest(batch, lease_ms=1_000) or (0, None)
    assert not await store.batches.tell(batch, lease, {"bucket": "b"})
    assert await store.batches.tell(batch, newer, {"bucket": "b"})
    assert events(store) == ["batch.completed"]


async def test_who_writes_down_an_end_that_was_not_the_last_is_stale(store: Store) -> None:
    batch = await store.batch({})
    await store.jobs.cancel(batch_job_id(batch, 1))
    lease, _ = await store.batches.claim_manifest(batch, lease_ms=1_000) or (0, None)
    await store.jobs.retry(batch_job_id(batch, 1))
    await store.jobs.cancel(batch_job_id(batch, 1))
    assert not await store.batches.tell(batch, lease, {"bucket": "of the end before"})
    await store.end_batch(batch)


async def test_a_batchs_webhook_tells_of_its_jobs_where_it_names_their_events(store: Store) -> None:
    hook = Webhook(url="https://example.com/batches", events=["job.canceled"])
    batch = await store.batch({}, {"webhook": {"url": "https://example.com/own"}}, webhook=hook)
    await store.jobs.cancel(batch_job_id(batch, 1))
    await store.jobs.cancel(batch_job_id(batch, 2))
    urls = {record["url"] for _, record in store.cell().under("delivery:")}
    assert urls == {"https://example.com/batches", "https://example.com/own"}
    await store.end_batch(batch)
    assert events(store) == ["job.canceled", "job.canceled"]


async def test_deadlines_count_from_the_acceptance(store: Store) -> None:
    batch = await store.batch({"expires_in": 60}, {})
    due = store.cell().at(keys.DUE)
    job = batch_job_id(batch, 1)
    assert f"x:{job}" in due
    assert f"x:{batch_job_id(batch, 2)}" not in due
    linked = int((await read(store, batch)).fields["linked_ms"])
    assert due[f"x:{job}"] >= linked + 60_000
