"""How jobs end, and what their attempts still do after that."""

import orjson
import pytest

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Moved, Ticket
from darkroom.store.jobs import ConflictError
from darkroom.store.records import JobRecord
from darkroom.store.view import job_view
from tests.support.stores import FAILED, HOOK, UNSETTLED, Store
from worker.durations import KEPT


async def test_completed_job_shows_outputs_and_its_time_runs(store: Store) -> None:
    ticket = await store.storing(max_images=1)
    assert await store.complete(ticket) is Moved.DONE
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], len(view["outputs"]), view["late_outputs"]) == ("completed", 1, [])
    assert 0 < store.client.pttl(keys.job(ticket.job_id)) <= 604_800_000


async def test_completed_job_never_changes_again(store: Store) -> None:
    ticket = await store.storing()
    await store.complete(ticket)
    before = store.cell().values
    for finished in (ticket, await store.ticket(ticket.job_id)):
        assert await store.attempts.failed(finished, FAILED) is Moved.STALE
        repeated = finished is ticket  # gets its answer again
        assert await store.complete(finished) is (Moved.DONE if repeated else Moved.STALE)
        assert await store.accept(finished, f"p-{ticket.job_id}") is Moved.NOTHING
    for call in (store.jobs.cancel(ticket.job_id), store.jobs.retry(ticket.job_id)):
        with pytest.raises(ConflictError):
            await call
    assert store.cell().values == before


async def test_slot_is_free_and_images_count_as_unstored_from_the_hand_over(store: Store) -> None:
    ticket = await store.storing(max_images=4)
    assert store.cell().at(keys.slots(DEFAULT_LANE)) == {}
    assert store.client.hget(keys.DEPTH, "*|unstored") == "4"
    await store.complete(ticket)
    assert store.client.hget(keys.DEPTH, "*|unstored") is None


async def test_the_latest_durations_are_kept_and_no_more(store: Store) -> None:
    store.client.rpush(keys.DURATIONS, *range(KEPT))
    await store.hand_over(await store.generating())
    unsaid = await store.attempts.hand_over(
        await store.generating(), sources='[{"index":0}]', inference_ms=None, polls=1, wait_ms=1
    )
    assert unsaid is not None
    assert store.cell().values[keys.DURATIONS] == [*map(str, range(1, KEPT)), "5000"]


async def test_transient_failure_is_replaced_in_the_old_place(store: Store) -> None:
    ticket = await store.generating(max_images=2)
    await store.post()
    assert await store.attempts.failed(ticket, FAILED, max_attempts=2) is Moved.OTHER
    record = await store.read(ticket.job_id)
    assert (record.status, record.attempt_number, record.place, await store.spent(ticket.job_id)) == ("queued", 2, 1, 2)


async def test_last_attempt_fails_the_job_with_the_reason(store: Store) -> None:
    ticket = await store.generating()
    assert await store.attempts.failed(ticket, FAILED, max_attempts=1, polls=7) is Moved.DONE
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["error"]["code"], view["timings"]["polls"]) == ("failed", "upstream_failed", 7)


@pytest.mark.parametrize("state", ["submitting", "unconfirmed", "storing"])
async def test_only_what_failed_while_generating_is_replaced(store: Store, state: str) -> None:
    ticket: Ticket = await getattr(store, state)()
    assert await store.attempts.failed(ticket, FAILED, max_attempts=5) is Moved.DONE
    assert await store.status(ticket.job_id) == "failed"


async def test_admitted_attempt_cannot_fail_before_it_is_sent(store: Store) -> None:
    ticket = await store.admitted()
    assert await store.attempts.failed(ticket, FAILED) is Moved.STALE


async def test_refused_submit_costs_nothing(store: Store) -> None:
    ticket = await store.submitting(max_images=5)
    assert await store.attempts.failed(ticket, FAILED, created_nothing=True) is Moved.DONE
    assert await store.spent(ticket.job_id) == 0


async def test_timed_out_job_fails_and_its_attempt_goes_on(store: Store) -> None:
    ticket = await store.generating(webhook=HOOK | {"events": ["job.failed", "job.outputs_late"]})
    assert await store.attempts.time_out(ticket, FAILED) is Moved.DONE
    assert await store.attempts.time_out(ticket, FAILED) is Moved.NOTHING
    assert store.client.pttl(keys.job(ticket.job_id)) == -1
    assert list(store.cell().at(keys.slots(DEFAULT_LANE))) == [f"{ticket.job_id}:1"]
    assert await store.complete(await store.hand_over(ticket)) is Moved.OTHER
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["outputs"], len(view["late_outputs"])) == ("failed", [], 1)
    assert store.events(ticket.job_id) == ["job.failed", "job.outputs_late"]


async def test_event_of_late_outputs_shows_them(store: Store) -> None:
    ticket = await store.generating(webhook=HOOK | {"events": ["job.outputs_late"]})
    await store.attempts.time_out(ticket, FAILED)
    await store.complete(await store.hand_over(ticket))
    [(_, event)] = store.cell().under("event:")
    view = job_view(JobRecord.from_snapshot(ticket.job_id, event["record"]))
    assert (view["outputs"], [output["attempt"] for output in view["late_outputs"]]) == ([], [1])


async def test_webhook_that_does_not_name_late_outputs_is_not_told(store: Store) -> None:
    ticket = await store.generating(webhook=HOOK)
    await store.attempts.time_out(ticket, FAILED)
    await store.complete(await store.hand_over(ticket))
    assert store.events(ticket.job_id) == ["job.failed"]


@pytest.mark.parametrize("state", ["post", "admitted"])
async def test_cancel_before_the_submit_is_free_and_at_once(store: Store, state: str) -> None:
    made = await getattr(store, state)(max_images=3)
    job_id = made if isinstance(made, str) else made.job_id
    assert await store.jobs.cancel(job_id)
    view = job_view(await store.read(job_id))
    assert (view["status"], view["cost"]["spent"]) == ("canceled", 0)
    assert store.used() == 0
    assert store.cell().at(keys.DEPTH) == {}


@pytest.mark.parametrize("state", ["submitting", "unconfirmed"])
async def test_cancel_during_the_submit_waits_for_its_answer(store: Store, state: str) -> None:
    ticket: Ticket = await getattr(store, state)(max_images=2)
    assert not await store.jobs.cancel(ticket.job_id)
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["cancel_requested_at"] is not None) == (state, True)
    assert await store.accept(ticket, "p1") is Moved.DONE
    assert (await store.status(ticket.job_id), await store.spent(ticket.job_id)) == ("canceled", 2)
    assert (await store.ticket(ticket.job_id)).lease == ticket.lease + 1
    assert await store.complete(await store.hand_over(await store.ticket(ticket.job_id))) is Moved.OTHER


@pytest.mark.parametrize("why", ["never_left", "not_now", "absent", "refused", "unsettled"])
async def test_canceled_submit_that_yields_nothing_ends_canceled(store: Store, why: str) -> None:
    ticket = await (store.unconfirmed if why in ("absent", "unsettled") else store.submitting)(max_images=2)
    await store.jobs.cancel(ticket.job_id)
    if why in ("refused", "unsettled"):
        await store.attempts.failed(ticket, UNSETTLED, created_nothing=why == "refused")
    else:
        await store.attempts.returned(ticket, why)
    assert await store.status(ticket.job_id) == "canceled"
    assert await store.spent(ticket.job_id) == (2 if why == "unsettled" else 0)


@pytest.mark.parametrize("state", ["generating", "storing"])
async def test_cancel_after_the_submit_is_at_once_and_outputs_come_late(store: Store, state: str) -> None:
    ticket: Ticket = await getattr(store, state)(max_images=2)
    assert await store.jobs.cancel(ticket.job_id)
    assert (await store.status(ticket.job_id), await store.spent(ticket.job_id)) == ("canceled", 2)
    storing = await store.hand_over(ticket) if state == "generating" else ticket
    assert await store.complete(storing) is Moved.OTHER
    assert await store.status(ticket.job_id) == "canceled"


async def test_history_counts_every_change(store: Store) -> None:
    ticket = await store.generating()
    await store.attempts.failed(ticket, FAILED, max_attempts=2)
    job = (await store.read(ticket.job_id)).job
    changes = [entry.rpartition(",")[0] for entry in job["events"].split(";") if entry]
    assert changes == ["1-1,queued", "1-2,submitting", "1-3,generating", "2-4,queued"]


async def test_long_history_forgets_its_beginning_and_nothing_else(store: Store) -> None:
    ticket = await store.submitting()
    for _ in range(40):
        await store.attempts.returned(ticket, "never_left")
        [ticket] = (await store.admit()).tickets
        await store.begin(ticket)
    job = (await store.read(ticket.job_id)).job
    assert len(job["events"]) <= 2000
    assert job["events"].rstrip(";").rpartition(";")[2].startswith("1-82,submitting,")


async def test_error_texts_of_any_kind_survive(store: Store) -> None:
    text = 'é "quoted" \\ \n \u0000 🦊 {"a": null}'
    ticket = await store.generating(webhook=HOOK)
    await store.attempts.failed(ticket, FAILED.model_copy(update={"message": text, "upstream": {"x": [], "y": {}}}))
    [(_, event)] = store.cell().under("event:")
    told = JobRecord.from_snapshot(ticket.job_id, event["record"])
    assert orjson.loads(told.job["error"])["message"] == text
    assert orjson.loads(told.job["error"])["upstream"] == {"x": [], "y": {}}
