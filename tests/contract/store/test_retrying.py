"""Retrying: what upstream still has is resumed at no cost, everything else needs a new attempt."""

import pytest

from darkroom.store import keys
from darkroom.store.attempts import Moved
from darkroom.store.jobs import ConflictError
from darkroom.store.view import job_view
from tests.support.stores import FAILED, HOOK, HOUR_MS, UNSETTLED, Store


async def test_failed_job_waits_for_a_new_attempt_at_the_end_of_the_line(store: Store) -> None:
    ticket = await store.generating(max_images=2)
    await store.attempts.failed(ticket, FAILED)
    await store.post()
    assert not (await store.jobs.retry(ticket.job_id, fresh=True)).resumed
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["attempt"], view["queue_position"], view["error"]) == ("queued", 2, 2, None)
    assert view["cost"]["spent"] == 0.08
    assert store.client.pttl(keys.job(ticket.job_id)) == -1


async def test_timed_out_job_resumes_the_prediction_that_still_runs(store: Store) -> None:
    ticket = await store.generating(max_images=2)
    await store.attempts.time_out(ticket, FAILED)
    assert (await store.jobs.retry(ticket.job_id)).resumed
    assert await store.status(ticket.job_id) == "generating"
    assert await store.complete(await store.hand_over(await store.ticket(ticket.job_id))) is Moved.DONE
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["attempt"], view["cost"]["spent"]) == ("completed", 1, 0.08)


async def test_resumed_generation_has_its_whole_time_again(store: Store) -> None:
    ticket = await store.generating()
    await store.attempts.time_out(ticket, FAILED)
    await store.jobs.retry(ticket.job_id)
    [entry] = (await store.sweep(ticket.due_member)).attempts
    assert entry.clock_ms >= entry.submitted_ms
    assert entry.current


async def test_late_outputs_become_the_jobs_own_by_a_retry(store: Store) -> None:
    ticket = await store.generating()
    await store.attempts.time_out(ticket, FAILED)
    await store.complete(await store.hand_over(ticket))
    assert (await store.jobs.retry(ticket.job_id)).resumed
    claim = await store.attempts.claim_store(await store.ticket(ticket.job_id), lease_ms=HOUR_MS)
    assert claim is not None
    assert claim.record.attempt["sources"] == "[]"
    assert await store.attempts.complete(claim.ticket, delivered=1, finished_ms=1_700_000_000_000) is Moved.DONE
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], len(view["outputs"]), view["late_outputs"]) == ("completed", 1, [])


async def test_retry_keeps_the_late_outputs_of_other_attempts(store: Store) -> None:
    first = await store.generating()
    await store.jobs.cancel(first.job_id)
    await store.complete(await store.hand_over(first))
    await store.jobs.retry(first.job_id, fresh=True)
    [second] = (await store.admit()).tickets
    await store.begin(second)
    await store.accept(second, "p2")
    await store.jobs.cancel(first.job_id)
    await store.complete(await store.hand_over(await store.ticket(first.job_id)))
    assert list((await store.read(first.job_id)).late) == [1, 2]
    assert (await store.jobs.retry(first.job_id)).resumed
    assert list((await store.read(first.job_id)).late) == [1]


async def test_job_that_could_not_be_stored_goes_on_storing(store: Store) -> None:
    ticket = await store.storing(max_images=3)
    await store.attempts.save_output(ticket, 0, '{"index":0,"key":"k"}')
    await store.attempts.failed(ticket, FAILED)
    assert store.client.hget(keys.DEPTH, "*|unstored") is None
    assert (await store.jobs.retry(ticket.job_id)).resumed
    claim = await store.attempts.claim_store(await store.ticket(ticket.job_id), lease_ms=HOUR_MS)
    assert claim is not None
    assert claim.record.attempt["sources"] == '[{"index":0}]'
    assert "out:0" in claim.record.attempt
    assert store.client.hget(keys.DEPTH, "*|unstored") == "3"


async def test_fresh_retry_buys_anew_while_the_old_attempt_goes_on(store: Store) -> None:
    ticket = await store.generating()
    await store.attempts.time_out(ticket, FAILED)
    assert not (await store.jobs.retry(ticket.job_id, fresh=True)).resumed
    assert await store.complete(await store.hand_over(ticket)) is Moved.OTHER
    assert await store.status(ticket.job_id) == "queued"
    view = job_view(await store.read(ticket.job_id))
    assert (view["attempt"], len(view["late_outputs"])) == (2, 1)


async def test_record_lives_on_until_an_abandoned_attempt_has_ended(store: Store) -> None:
    ticket = await store.generating()
    await store.attempts.time_out(ticket, FAILED)
    await store.jobs.retry(ticket.job_id, fresh=True)
    await store.jobs.cancel(ticket.job_id)
    assert store.client.pttl(keys.job(ticket.job_id)) == -1
    await store.complete(await store.hand_over(ticket))
    assert store.client.pttl(keys.job(ticket.job_id)) > 0


@pytest.mark.parametrize("state", ["post", "admitted", "submitting", "generating", "storing"])
async def test_job_that_has_not_ended_cannot_be_retried(store: Store, state: str) -> None:
    made = await getattr(store, state)()
    with pytest.raises(ConflictError) as refused:
        await store.jobs.retry(made if isinstance(made, str) else made.job_id)
    assert refused.value.code == "not_retryable"


async def test_unsettled_submit_is_not_repeated_by_a_retry(store: Store) -> None:
    ticket = await store.unconfirmed()
    await store.attempts.failed(ticket, UNSETTLED)
    with pytest.raises(ConflictError) as refused:
        await store.jobs.retry(ticket.job_id)
    assert refused.value.code == "submit_unconfirmed"


async def test_unsettled_submit_whose_prediction_turned_up_is_resumed(store: Store) -> None:
    ticket = await store.unconfirmed()
    await store.attempts.failed(ticket, UNSETTLED)
    await store.accept(ticket, "p1")
    assert (await store.jobs.retry(ticket.job_id)).resumed
    assert await store.status(ticket.job_id) == "generating"


async def test_expired_job_waits_without_a_deadline_after_a_retry(store: Store) -> None:
    job_id = await store.post(expires_in=60)
    store.client.hincrby(keys.job(job_id), "queued_ms", -HOUR_MS)
    await store.timers.expire([job_id])
    assert await store.status(job_id) == "expired"
    await store.jobs.retry(job_id)
    await store.timers.expire([job_id])
    assert await store.status(job_id) == "queued"


async def test_second_end_is_told_as_well(store: Store) -> None:
    ticket = await store.generating(webhook=HOOK)
    await store.attempts.failed(ticket, FAILED)
    await store.jobs.retry(ticket.job_id)
    await store.jobs.cancel(ticket.job_id)
    assert store.events(ticket.job_id) == ["job.failed", "job.canceled"]


async def test_unknown_job_cannot_be_canceled_or_retried(store: Store) -> None:
    with pytest.raises(KeyError):
        await store.jobs.cancel("job_none")
    with pytest.raises(KeyError):
        await store.jobs.retry("job_none")
    assert await store.jobs.read("job_none") is None


async def test_outputs_stored_late_count_as_delivered_once_when_a_retry_takes_them_up(store: Store) -> None:
    ticket = await store.storing(max_images=2)
    await store.jobs.cancel(ticket.job_id)
    assert await store.complete(ticket) is Moved.OTHER
    await store.jobs.retry(ticket.job_id)
    assert await store.attempts.complete(await store.ticket(ticket.job_id), delivered=1, finished_ms=1) is Moved.DONE
    assert (store.usage()["images_delivered"], store.cell().at(keys.TOTALS)["delivered_images"]) == (1, "1")
