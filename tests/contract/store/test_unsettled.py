"""Sends that were lost: a fact beats a conclusion, and what stays open is settled by an operator and by nobody else."""

from typing import Any

import pytest

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Moved, Ticket
from darkroom.store.jobs import ConflictError, ResolveAction
from darkroom.store.view import job_view
from tests.support.conservation import broken_rules
from tests.support.stores import FAILED, UNSETTLED, Store


async def left_open(store: Store, **request: Any) -> Ticket:
    """Make a job whose lost submit could not be settled."""
    ticket = await store.unconfirmed(**request)
    assert await store.attempts.failed(ticket, UNSETTLED) is Moved.DONE
    return await store.ticket(ticket.job_id)


def open_sends(store: Store) -> set[str]:
    return set(store.cell().at(keys.open_sends(DEFAULT_LANE)))


async def test_send_is_open_until_it_is_known_what_became_of_it(store: Store) -> None:
    ticket = await store.submitting()
    assert open_sends(store) == {f"{ticket.job_id}:1"}
    await store.attempts.unknown(ticket, look_in_ms=0, message="reset")
    assert open_sends(store) == {f"{ticket.job_id}:1"}
    await store.accept(ticket, "p1")
    assert open_sends(store) == set()


async def test_direct_answer_takes_the_prediction_from_who_only_adopted_it(store: Store) -> None:
    adopter, owner = await store.unconfirmed(), await store.unconfirmed()
    assert await store.accept(adopter, "p1", adopted=True) is Moved.DONE
    assert await store.accept(owner, "p1") is Moved.DONE
    assert await store.status(owner.job_id) == "generating"
    record = await store.read(adopter.job_id)
    assert (record.status, record.attempt.get("prediction_id")) == ("unconfirmed", None)
    assert open_sends(store) == {f"{adopter.job_id}:1"}
    assert broken_rules(store.cell()) == []


async def test_what_an_adopter_had_stored_is_no_output_of_his_any_more(store: Store) -> None:
    adopter, owner = await store.unconfirmed(max_images=2), await store.unconfirmed(max_images=2)
    await store.accept(adopter, "p1", adopted=True)
    storing = await store.hand_over(await store.ticket(adopter.job_id))
    await store.attempts.save_output(storing, 0, '{"index":0,"key":"k"}')
    assert await store.accept(owner, "p1") is Moved.DONE
    assert await store.attempts.save_output(storing, 1, '{"index":1,"key":"k"}') is Moved.STALE
    record = await store.read(adopter.job_id)
    assert (record.status, "out:0" in record.attempt) == ("unconfirmed", False)
    assert broken_rules(store.cell()) == []


async def test_prediction_that_its_adopter_has_made_use_of_stays_his(store: Store) -> None:
    adopter, owner = await store.unconfirmed(), await store.unconfirmed()
    await store.accept(adopter, "p1", adopted=True)
    await store.complete(await store.hand_over(await store.ticket(adopter.job_id)))
    assert await store.accept(owner, "p1") is Moved.FOREIGN
    assert await store.status(adopter.job_id) == "completed"
    assert await store.status(owner.job_id) == "unconfirmed"


@pytest.mark.parametrize("admitted", [False, True])
async def test_answer_that_comes_after_its_absence_was_believed_keeps_the_job_from_being_sent_again(
    store: Store, admitted: bool
) -> None:
    ticket = await store.unconfirmed(max_images=3)
    await store.attempts.returned(ticket, "absent")
    assert await store.spent(ticket.job_id) == 0
    tickets = (await store.admit()).tickets if admitted else []
    assert await store.accept(ticket, "p1") is Moved.DONE
    assert (await store.status(ticket.job_id), await store.spent(ticket.job_id)) == ("generating", 3)
    for late in tickets:
        assert await store.attempts.begin_submit(late, lease_ms=1, sync_lease_ms=1, key="k") is None
    assert (await store.admit()).tickets == []
    assert broken_rules(store.cell()) == []


async def test_canceled_job_whose_send_stays_unsettled_is_not_bought_again_by_a_retry(store: Store) -> None:
    ticket = await store.unconfirmed()
    await store.jobs.cancel(ticket.job_id)
    await store.attempts.failed(ticket, UNSETTLED)
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["error"]["code"], view["cost"]["spent"]) == ("canceled", "submit_unconfirmed", 0.04)
    with pytest.raises(ConflictError):
        await store.jobs.retry(ticket.job_id, fresh=True)


async def test_retry_asks_upstream_before_it_buys_again(store: Store) -> None:
    ticket = await store.generating(max_images=2)
    await store.attempts.failed(ticket, FAILED)
    assert (await store.jobs.retry(ticket.job_id)).resumed
    [entry] = (await store.sweep(ticket.due_member)).attempts
    assert (entry.state, entry.asked, entry.prediction_id) == ("generating", True, f"p-{ticket.job_id}")
    assert await store.complete(await store.hand_over(entry.ticket)) is Moved.DONE
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["attempt"], view["cost"]["spent"]) == ("completed", 1, 0.08)


async def test_retry_that_finds_nothing_upstream_buys_again_whatever_the_number_of_attempts(store: Store) -> None:
    ticket = await store.generating(max_images=2)
    await store.attempts.failed(ticket, FAILED)
    await store.jobs.retry(ticket.job_id)
    assert await store.attempts.failed(await store.ticket(ticket.job_id), FAILED, max_attempts=0) is Moved.OTHER
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["attempt"], view["error"]) == ("queued", 2, None)
    assert broken_rules(store.cell()) == []


async def test_prediction_that_turned_out_to_run_may_fail_as_any_other(store: Store) -> None:
    ticket = await store.generating()
    await store.attempts.failed(ticket, FAILED)
    await store.jobs.retry(ticket.job_id)
    resumed = await store.ticket(ticket.job_id)
    assert await store.attempts.resumed(resumed) is Moved.DONE
    assert await store.attempts.failed(resumed, FAILED) is Moved.DONE
    assert await store.status(ticket.job_id) == "failed"


async def test_operator_adopts_a_prediction_for_a_job_that_was_left_open(store: Store) -> None:
    ticket = await left_open(store, max_images=2)
    await store.jobs.resolve(ticket.job_id, "adopt", prediction_id="found", by="ops")
    record = await store.read(ticket.job_id)
    assert (record.status, record.attempt["prediction_id"], record.job["spent_images"]) == ("generating", "found", "2")
    assert open_sends(store) == set()
    assert await store.complete(await store.hand_over(await store.ticket(ticket.job_id))) is Moved.DONE
    assert broken_rules(store.cell()) == []


async def test_operator_cannot_adopt_what_belongs_to_another_job(store: Store) -> None:
    owner, ticket = await store.generating(), await left_open(store)
    with pytest.raises(ConflictError) as refused:
        await store.jobs.resolve(ticket.job_id, "adopt", prediction_id=f"p-{owner.job_id}", by="ops")
    assert refused.value.code == "prediction_owned"
    assert await store.status(ticket.job_id) == "failed"


async def test_adopted_for_a_canceled_job_the_outputs_are_late(store: Store) -> None:
    ticket = await store.unconfirmed()
    await store.jobs.cancel(ticket.job_id)
    await store.attempts.failed(ticket, UNSETTLED)
    await store.jobs.resolve(ticket.job_id, "adopt", prediction_id="found", by="ops")
    assert await store.complete(await store.hand_over(await store.ticket(ticket.job_id))) is Moved.OTHER
    assert await store.status(ticket.job_id) == "canceled"
    assert broken_rules(store.cell()) == []


async def test_operator_lets_it_be_bought_again_and_what_was_sent_stays_counted(store: Store) -> None:
    ticket = await left_open(store, max_images=2)
    await store.jobs.resolve(ticket.job_id, "resubmit", by="ops")
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["attempt"], view["error"], view["cost"]["spent"]) == ("queued", 2, None, 0.08)
    assert open_sends(store) == set()
    assert broken_rules(store.cell()) == []


async def test_job_that_an_operator_gave_up_may_be_retried_by_its_owner(store: Store) -> None:
    ticket = await left_open(store)
    await store.jobs.resolve(ticket.job_id, "give_up", by="ops")
    error = job_view(await store.read(ticket.job_id))["error"]
    assert (error["code"], error["retryable"], "ops" in error["message"]) == ("submit_unconfirmed", True, True)
    with pytest.raises(ConflictError):
        await store.jobs.resolve(ticket.job_id, "resubmit", by="ops")
    assert not (await store.jobs.retry(ticket.job_id)).resumed
    assert await store.status(ticket.job_id) == "queued"


@pytest.mark.parametrize("state", ["submitting", "unconfirmed", "generating", "storing"])
async def test_only_what_was_left_open_can_be_resolved(store: Store, state: str) -> None:
    ticket: Ticket = await getattr(store, state)()
    before = store.cell().values
    with pytest.raises(ConflictError) as refused:
        await store.jobs.resolve(ticket.job_id, "resubmit", by="ops")
    assert refused.value.code == "nothing_to_resolve"
    assert store.cell().values == before


async def test_one_sweep_a_lane_at_a_time_and_a_pause_after_it(store: Store) -> None:
    attempts = store.attempts
    for lane in ("default", "other"):
        await store.lanes.configure(lane, images_per_minute=1, max_concurrency=1, rate_cost="images")
    assert await attempts.claim_sweep("default", "a", hold_ms=60_000)
    assert not await attempts.claim_sweep("default", "b", hold_ms=60_000)
    assert await attempts.claim_sweep("other", "b", hold_ms=60_000)
    assert await attempts.claim_sweep("default", "a", hold_ms=60_000)
    await attempts.end_sweep("default", "b", pause_ms=1)
    assert not await attempts.claim_sweep("default", "b", hold_ms=60_000)
    await attempts.end_sweep("default", "a", pause_ms=60_000)
    assert not await attempts.claim_sweep("default", "b", hold_ms=60_000)


@pytest.mark.parametrize("action", ["adopt", "resubmit", "give_up"])
async def test_resolving_or_retrying_again_because_the_answer_was_lost_changes_nothing(
    store: Store, action: ResolveAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.store.jobs.secrets.token_hex", lambda _: "mark")
    ticket = await left_open(store)
    await store.jobs.resolve(ticket.job_id, action, prediction_id="found", by="ops")
    before = _without_wake(store)
    await store.jobs.resolve(ticket.job_id, action, prediction_id="found", by="ops")
    assert _without_wake(store) == before
    if action == "give_up":
        assert not (await store.jobs.retry(ticket.job_id)).resumed
        before = _without_wake(store)
        assert not (await store.jobs.retry(ticket.job_id)).resumed
        assert _without_wake(store) == before


def _without_wake(store: Store) -> dict[str, Any]:
    return {name: value for name, value in store.cell().values.items() if name != keys.WAKE}


async def test_answer_after_all_sends_counted_as_lost_is_paid_again(store: Store) -> None:
    ticket = await store.unconfirmed(max_images=2)
    assert await store.attempts.failed(ticket, FAILED, created_nothing=True) is Moved.DONE
    assert await store.spent(ticket.job_id) == 0
    assert await store.accept(ticket, "p1") is Moved.DONE
    assert await store.spent(ticket.job_id) == 2
    assert broken_rules(store.cell()) == []


@pytest.mark.parametrize("ending", ["not_now", "never_left", "absent", "refused"])
async def test_what_an_earlier_send_turned_out_to_have_bought_is_used_before_anything_is_bought_again(
    store: Store, ending: str
) -> None:
    ticket = await store.unconfirmed(max_images=2)
    await store.attempts.returned(ticket, "absent")
    [ticket] = (await store.admit()).tickets
    assert await store.begin(ticket) == 2
    assert await store.accept(ticket, "first", send=1) is Moved.DUPLICATE
    assert await store.spent(ticket.job_id) == 4
    if ending == "absent":
        await store.attempts.unknown(ticket, look_in_ms=0, message="reset")
        ticket = await store.ticket(ticket.job_id)
    if ending == "refused":
        assert await store.attempts.failed(ticket, FAILED, created_nothing=True) is Moved.OTHER
    else:
        assert await store.attempts.returned(ticket, ending) is Moved.DONE
    record = await store.read(ticket.job_id)
    assert (record.status, record.attempt["prediction_id"], await store.spent(ticket.job_id)) == (
        "generating",
        "first",
        2,
    )
    assert (await store.admit()).tickets == []
    assert broken_rules(store.cell()) == []
    assert await store.complete(await store.hand_over(await store.ticket(ticket.job_id))) is Moved.DONE


async def test_retry_that_found_it_completed_buys_nothing_when_it_cannot_be_stored(store: Store) -> None:
    ticket = await store.generating()
    await store.attempts.failed(ticket, FAILED)
    await store.jobs.retry(ticket.job_id)
    storing = await store.hand_over(await store.ticket(ticket.job_id))
    assert await store.attempts.failed(storing, FAILED) is Moved.DONE
    assert await store.status(ticket.job_id) == "failed"


async def test_what_is_left_open_keeps_its_slot_until_an_operator_has_settled_it(store: Store) -> None:
    await store.limits(concurrency=1)
    ticket = await left_open(store)
    await store.post()
    assert (await store.admit()).reason == "slots"
    await store.jobs.resolve(ticket.job_id, "give_up", by="ops")
    assert len((await store.admit()).tickets) == 1


async def test_a_canceled_job_is_not_bought_again_by_an_operator(store: Store) -> None:
    ticket = await store.unconfirmed()
    await store.jobs.cancel(ticket.job_id)
    await store.attempts.failed(ticket, UNSETTLED)
    with pytest.raises(ConflictError) as refused:
        await store.jobs.resolve(ticket.job_id, "resubmit", by="ops")
    assert refused.value.code == "job_canceled"
    assert await store.status(ticket.job_id) == "canceled"


async def test_direct_answer_takes_the_prediction_from_who_got_it_by_an_operators_mistake(store: Store) -> None:
    adopter, owner = await left_open(store), await store.submitting()
    await store.jobs.resolve(adopter.job_id, "adopt", prediction_id="p1", by="ops")
    assert await store.accept(owner, "p1") is Moved.DONE
    assert await store.status(adopter.job_id) == "unconfirmed"
    assert broken_rules(store.cell()) == []


async def test_time_out_decided_before_a_retry_is_stale(store: Store) -> None:
    ticket = await store.generating()
    await store.attempts.time_out(ticket, FAILED)
    await store.jobs.retry(ticket.job_id)
    assert await store.attempts.time_out(ticket, FAILED) is Moved.STALE
    assert await store.status(ticket.job_id) == "generating"
