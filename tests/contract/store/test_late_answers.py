"""Answers that come after others have concluded what became of a send lose nothing and buy nothing twice."""

import pytest

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Moved
from darkroom.timers import Look
from tests.support.conservation import broken_rules
from tests.support.stores import FAILED, UNSETTLED, Store


@pytest.mark.parametrize("admitted", [False, True])
async def test_prediction_whose_absence_was_believed_may_fail_as_any_other_and_be_replaced(
    store: Store, admitted: bool
) -> None:
    ticket = await store.unconfirmed()
    await store.attempts.returned(ticket, "absent")
    if admitted:
        await store.admit()
    assert await store.accept(ticket, "p1") is Moved.DONE
    assert await store.attempts.failed(await store.ticket(ticket.job_id), FAILED, max_attempts=2) is Moved.OTHER
    assert await store.status(ticket.job_id) == "queued"
    assert broken_rules(store.cell()) == []
    store.pass_the_window()
    [again] = (await store.admit()).tickets
    assert (again.job_id, again.attempt) == (ticket.job_id, 2)


async def test_two_that_adopted_each_others_prediction_keep_what_they_have(store: Store) -> None:
    first, second = await store.unconfirmed(), await store.unconfirmed()
    assert await store.accept(first, "of-second", adopted=True) is Moved.DONE
    assert await store.accept(second, "of-first", adopted=True) is Moved.DONE
    assert await store.accept(first, "of-first") is Moved.FOREIGN
    assert await store.accept(second, "of-second") is Moved.FOREIGN
    for ticket, prediction in ((first, "of-second"), (second, "of-first")):
        record = await store.read(ticket.job_id)
        assert (record.status, record.attempt["prediction_id"]) == ("generating", prediction)
        assert "duplicates" not in record.attempt
        assert await store.spent(ticket.job_id) == 1
    assert broken_rules(store.cell()) == []


async def test_who_adopted_anothers_prediction_gives_it_back_for_its_own(store: Store) -> None:
    answered, lost = await store.unconfirmed(), await store.unconfirmed()
    assert await store.accept(answered, "of-lost", adopted=True) is Moved.DONE
    assert await store.accept(answered, "of-answered") is Moved.DONE
    record = await store.read(answered.job_id)
    assert (record.status, record.attempt["prediction_id"]) == ("generating", "of-answered")
    assert (await store.spent(answered.job_id), "duplicates" in record.attempt) == (1, False)
    assert await store.accept(lost, "of-lost", adopted=True) is Moved.DONE
    assert broken_rules(store.cell()) == []


async def test_a_look_at_what_was_given_back_decides_nothing(store: Store) -> None:
    answered = await store.unconfirmed()
    await store.accept(answered, "of-lost", adopted=True)
    looking = await store.ticket(answered.job_id)
    await store.accept(answered, "of-answered")
    assert await store.attempts.failed(looking, FAILED) is Moved.STALE
    assert await store.attempts.hand_over(looking, sources="[]", inference_ms=1, polls=1, wait_ms=1) is None


async def test_an_adopter_that_sent_twice_may_own_both(store: Store) -> None:
    """The earlier send's prediction showed late: it is nobody else's, so it was paid for twice."""
    ticket = await store.unconfirmed()
    await store.attempts.returned(ticket, "absent")
    store.pass_the_window()
    [again] = (await store.admit()).tickets
    assert await store.begin(again) == 2
    await store.attempts.unknown(again, look_in_ms=0, message="reset")
    again = await store.ticket(ticket.job_id)
    assert await store.accept(again, "p1", send=2, adopted=True) is Moved.DONE
    assert await store.accept(again, "p2", send=2) is Moved.DUPLICATE
    assert (await store.read(ticket.job_id)).attempt["prediction_id"] == "p1"
    assert await store.spent(ticket.job_id) == 2


async def test_canceled_job_that_lost_its_adopted_prediction_is_left_to_an_operator(store: Store) -> None:
    adopter, owner = await store.unconfirmed(), await store.unconfirmed()
    await store.accept(adopter, "p1", adopted=True)
    await store.jobs.cancel(adopter.job_id)
    assert await store.accept(owner, "p1") is Moved.DONE
    assert await store.attempts.failed(await store.ticket(adopter.job_id), UNSETTLED) is Moved.ENDED_BEFORE
    record = await store.read(adopter.job_id)
    assert (record.status, UNSETTLED.code in record.job["error"]) == ("canceled", True)
    assert broken_rules(store.cell()) == []


async def test_what_nobody_can_settle_any_more_holds_no_slot(store: Store) -> None:
    adopter, owner = await store.unconfirmed(), await store.unconfirmed()
    await store.accept(adopter, "p1", adopted=True)
    await store.jobs.cancel(adopter.job_id)
    await store.jobs.retry(adopter.job_id, fresh=True)
    assert await store.accept(owner, "p1") is Moved.DONE
    left = await store.ticket(adopter.job_id, attempt=1)
    assert await store.attempts.failed(left, UNSETTLED) is Moved.ENDED_BEFORE
    member = f"{adopter.job_id}:1"
    assert member not in store.cell().at(keys.slots(DEFAULT_LANE))
    assert member not in store.cell().at(keys.open_sends(DEFAULT_LANE))
    assert broken_rules(store.cell()) == []


async def test_a_prediction_is_missing_from_the_first_404_on_until_it_shows_again(store: Store) -> None:
    ticket = await store.generating()
    await store.timers.reschedule([Look(ticket, 1, 1, missing=True)])
    [first] = (await store.sweep(ticket.due_member)).attempts
    assert first.missing_ms is not None
    await store.timers.reschedule([Look(ticket, 2, 1, missing=None)])
    await store.timers.reschedule([Look(ticket, 3, 1, missing=True)])
    [second] = (await store.sweep(ticket.due_member)).attempts
    assert (second.missing_ms, second.key) == (first.missing_ms, "k")
    await store.timers.reschedule([Look(ticket, 4, 1, missing=False)])
    assert (await store.sweep(ticket.due_member)).attempts[0].missing_ms is None
