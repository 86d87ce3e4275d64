"""Upstream's callbacks: whenever one comes it loses nothing, buys nothing, and has the prediction looked at."""

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Moved, TakenOver, Ticket
from darkroom.store.callbacks import READ_KEY_EVERY_S, CallbackStore
from darkroom.timers import DueAttempt, Look
from tests.support.stores import FAILED, HOUR_MS, UNSETTLED, Store


@pytest.fixture
async def sent(store: Store) -> Ticket:
    """Give a job whose submit is under way, with a callback to come."""
    ticket = await store.admitted(max_images=2)
    await store.intend(ticket)
    return ticket


async def generating(store: Store) -> Ticket:
    """Post a job and have upstream accept it with a callback to come."""
    ticket = await store.admitted()
    await store.intend(ticket)
    await store.accept(ticket, f"p-{ticket.job_id}")
    return await store.ticket(ticket.job_id)


async def looked_at(store: Store, ticket: Ticket) -> DueAttempt:
    """Let the attempt's timer go off."""
    due = await store.sweep(ticket.due_member)
    return next(entry for entry in due.attempts if entry.ticket.due_member == ticket.due_member)


async def is_due(store: Store, ticket: Ticket) -> bool:
    """Say whether it would be looked at now."""
    return any(entry.ticket.job_id == ticket.job_id for entry in (await store.sweep()).attempts)


async def test_a_callback_before_the_answer_records_the_prediction_and_the_answer_is_nothing_new(
    store: Store, sent: Ticket
) -> None:
    called = await store.called_back(sent, "p1")
    assert (called.moved, called.looks) == (Moved.DONE, True)
    assert await store.status(sent.job_id) == "generating"
    assert await is_due(store, sent)
    assert await store.accept(sent, "p1") is Moved.NOTHING
    assert await store.spent(sent.job_id) == 2
    assert (await store.read(sent.job_id)).attempt["prediction_id"] == "p1"


async def test_an_answer_that_was_lost_after_the_callback_changes_nothing(store: Store, sent: Ticket) -> None:
    await store.called_back(sent, "p1")
    assert await store.attempts.unknown(sent, look_in_ms=0, message="reset") is Moved.STALE
    assert await store.attempts.returned(sent, "never_left") is Moved.STALE
    assert (await store.status(sent.job_id), await store.spent(sent.job_id)) == ("generating", 2)


async def test_a_repeated_callback_does_nothing_more(store: Store) -> None:
    ticket = await generating(store)
    first = await store.called_back(ticket, f"p-{ticket.job_id}")
    assert (first.moved, first.looks) == (Moved.NOTHING, True)
    before = store.cell().values
    again = await store.called_back(ticket, f"p-{ticket.job_id}")
    assert (again.moved, again.looks) == (Moved.NOTHING, False)
    assert store.cell().values == before


@pytest.mark.parametrize("ends", ["storing", "done"])
async def test_a_callback_that_comes_after_the_look_changes_nothing_of_the_job(store: Store, ends: str) -> None:
    ticket = await generating(store)
    storing = await store.hand_over(ticket)
    if ends == "done":
        await store.complete(storing)
    status, lease = await store.status(ticket.job_id), (await store.ticket(ticket.job_id)).lease
    called = await store.called_back(ticket, f"p-{ticket.job_id}")
    assert (called.moved, called.looks) == (Moved.NOTHING, False)
    assert (await store.status(ticket.job_id), (await store.ticket(ticket.job_id)).lease) == (status, lease)


async def test_a_look_under_way_cannot_put_off_the_one_that_the_callback_calls_for(store: Store) -> None:
    ticket = await generating(store)
    leased = await looked_at(store, ticket)
    await store.called_back(ticket, f"p-{ticket.job_id}")
    await store.timers.reschedule([Look(leased.ticket, 1, HOUR_MS)])  # it had asked before the prediction ended
    assert await is_due(store, ticket)
    assert await store.attempts.failed(leased.ticket, FAILED) is Moved.STALE


async def test_a_second_prediction_under_one_token_is_kept_and_paid(store: Store, sent: Ticket) -> None:
    await store.called_back(sent, "p1")
    for _ in range(2):
        assert (await store.called_back(sent, "p2")).moved is Moved.DUPLICATE
    record = await store.read(sent.job_id)
    assert (record.attempt["prediction_id"], record.attempt["duplicates"]) == ("p1", "p2")
    assert await store.spent(sent.job_id) == 4
    assert store.client.hget(keys.TOTALS, "duplicate_predictions") == "1"


async def test_a_callback_about_anothers_prediction_takes_nothing(store: Store, sent: Ticket) -> None:
    owner = await store.generating()
    called = await store.called_back(sent, f"p-{owner.job_id}")
    assert (called.moved, called.looks) == (Moved.FOREIGN, False)
    assert await store.status(sent.job_id) == "submitting"


async def test_a_lost_submit_is_settled_by_its_callback(store: Store, sent: Ticket) -> None:
    await store.attempts.unknown(sent, look_in_ms=HOUR_MS, message="reset")
    assert (await store.called_back(sent, "p1")).moved is Moved.DONE
    assert await store.status(sent.job_id) == "generating"
    assert f"{sent.job_id}:1" not in store.cell().at(keys.open_sends(DEFAULT_LANE))
    assert await is_due(store, sent)


async def test_a_callback_beats_an_adoption(store: Store, sent: Ticket) -> None:
    adopter = await store.unconfirmed(max_images=2)
    assert await store.accept(adopter, "p1", adopted=True) is Moved.DONE
    assert (await store.called_back(sent, "p1")).moved is Moved.DONE
    assert await store.status(adopter.job_id) == "unconfirmed"
    assert (await store.read(sent.job_id)).attempt["prediction_id"] == "p1"


async def test_a_callback_of_a_send_whose_absence_was_believed_keeps_it_from_being_bought_again(
    store: Store, sent: Ticket
) -> None:
    await store.attempts.unknown(sent, look_in_ms=0, message="reset")
    await store.attempts.returned(await store.ticket(sent.job_id), "absent")
    assert await store.status(sent.job_id) == "queued"
    assert (await store.called_back(sent, "p1")).moved is Moved.DONE
    assert (await store.status(sent.job_id), await store.spent(sent.job_id)) == ("generating", 2)
    assert (await store.admit()).tickets == []


async def test_a_callback_of_an_earlier_send_counts_as_paid_twice(store: Store, sent: Ticket) -> None:
    await store.attempts.unknown(sent, look_in_ms=0, message="reset")
    await store.attempts.returned(await store.ticket(sent.job_id), "absent")
    store.pass_the_window()
    [again] = (await store.admit()).tickets
    assert await store.begin(again, calls_back=True) == 2
    assert (await store.called_back(sent, "first", send=1)).moved is Moved.DUPLICATE
    assert (await store.called_back(sent, "second", send=2)).moved is Moved.DONE
    assert await store.spent(sent.job_id) == 4


async def test_a_callback_for_an_attempt_that_was_given_up_frees_its_slot_and_stores_late_outputs(
    store: Store, sent: Ticket
) -> None:
    await store.attempts.unknown(sent, look_in_ms=0, message="reset")
    await store.attempts.failed(await store.ticket(sent.job_id), UNSETTLED)
    assert (await store.called_back(sent, "p1")).moved is Moved.DONE
    assert await store.status(sent.job_id) == "failed"
    storing = await store.hand_over((await looked_at(store, sent)).ticket)
    assert f"{sent.job_id}:1" not in store.cell().at(keys.slots(DEFAULT_LANE))
    assert await store.complete(storing) is Moved.OTHER
    assert list((await store.read(sent.job_id)).late) == [1]
    assert await store.spent(sent.job_id) == 2


async def test_a_callback_for_an_attempt_that_a_retry_has_replaced_is_looked_at_now(store: Store) -> None:
    ticket = await generating(store)
    await store.attempts.time_out(ticket, FAILED)
    await store.jobs.retry(ticket.job_id, fresh=True)
    called = await store.called_back(ticket, f"p-{ticket.job_id}")
    assert (called.moved, called.looks) == (Moved.NOTHING, True)
    entry = await looked_at(store, ticket)
    assert (entry.ticket.attempt, entry.current) == (1, False)
    assert await store.complete(await store.hand_over(entry.ticket)) is Moved.OTHER


async def test_a_job_canceled_while_it_was_sent_ends_with_the_callback_and_keeps_what_is_paid(
    store: Store, sent: Ticket
) -> None:
    assert await store.jobs.cancel(sent.job_id) is False
    assert (await store.called_back(sent, "p1")).moved is Moved.DONE
    assert (await store.status(sent.job_id), await store.spent(sent.job_id)) == ("canceled", 2)
    assert await store.complete(await store.hand_over((await looked_at(store, sent)).ticket)) is Moved.OTHER


async def test_a_callback_whose_intent_a_failover_lost_is_given_to_the_job_that_waits(store: Store) -> None:
    job_id = await store.post(max_images=2)
    called = await store.called_back(Ticket(job_id, 1, 0), "p1")
    assert (called.moved, called.taken_over) == (Moved.STALE, TakenOver.DONE)
    assert (await store.status(job_id), await store.spent(job_id)) == ("generating", 2)
    assert (await store.called_back(Ticket(job_id, 1, 0), "p1")).moved is Moved.NOTHING
    assert (await store.admit()).tickets == []


async def test_a_callback_about_a_job_that_is_gone_leaves_nothing_behind(store: Store) -> None:
    before = store.cell().values
    called = await store.called_back(Ticket("job_gone", 1, 0), "p1")
    assert (called.moved, called.taken_over) == (Moved.STALE, TakenOver.NOT_WAITING)
    assert store.cell().values == before


@pytest.mark.parametrize(
    ("request_", "calls_back", "expected"),
    [
        ({}, True, "awaited"),
        ({}, False, ""),
        ({"enable_base64_output": True}, True, ""),
        ({"enable_sync_mode": True}, True, ""),
        ({"metadata": {"enable_sync_mode": "true"}, "prompt": '"enable_base64_output":true'}, True, "awaited"),
    ],
)
async def test_the_intent_says_whether_upstream_is_to_call_back(
    store: Store, request_: dict[str, object], calls_back: bool, expected: str
) -> None:
    ticket = await store.admitted(**request_)
    assert (await store.intend(ticket, calls_back=calls_back, mark="m")).callback == expected
    assert (await store.intend(ticket, calls_back=calls_back, mark="m")).callback == expected, "its answer was lost"
    await store.accept(ticket, "p1")
    assert (await looked_at(store, ticket)).callback == expected


async def test_a_send_without_a_callback_awaits_none_although_an_earlier_one_did(store: Store, sent: Ticket) -> None:
    await store.attempts.returned(sent, "never_left")
    [again] = (await store.admit()).tickets
    assert (await store.intend(again, calls_back=False)).callback == ""
    await store.accept(again, "p1", send=2)
    assert (await looked_at(store, again)).callback == ""


async def test_what_has_called_back_awaits_nothing_more_and_says_when_it_did(store: Store) -> None:
    ticket = await generating(store)
    assert (await looked_at(store, ticket)).callback == "awaited"
    await store.called_back(ticket, f"p-{ticket.job_id}")
    entry = await looked_at(store, ticket)
    assert entry.callback == ""
    assert entry.called_ms is not None


async def test_a_callback_about_another_prediction_is_not_the_one_that_is_awaited(store: Store) -> None:
    ticket = await generating(store)
    called = await store.called_back(ticket, "second")
    assert (called.moved, called.looks) == (Moved.DUPLICATE, False)
    assert (await looked_at(store, ticket)).callback == "awaited"


async def test_what_was_said_of_a_prediction_that_proved_to_be_anothers_is_not_held_for_its_own(
    store: Store, sent: Ticket
) -> None:
    await store.attempts.unknown(sent, look_in_ms=0, message="reset")
    await store.accept(sent, "anothers", adopted=True)
    await store.called_back(sent, "anothers")
    assert await store.accept(sent, "own") is Moved.DONE
    entry = await looked_at(store, sent)
    assert (entry.prediction_id, entry.callback, entry.called_ms) == ("own", "awaited", None)


async def test_three_ends_in_a_row_that_no_callback_told_of_make_looks_frequent_until_one_comes(store: Store) -> None:
    waiting = await generating(store)
    for number in range(3):
        assert (await looked_at(store, waiting)).callback == "awaited", f"after {number}"
        await store.hand_over(await generating(store))
    assert (await looked_at(store, waiting)).callback == "doubted"
    late = await generating(store)
    assert (await looked_at(store, late)).callback == "doubted"
    await store.called_back(late, f"p-{late.job_id}")
    assert (await looked_at(store, waiting)).callback == "awaited"
    assert store.client.hmget(keys.TOTALS, "callbacks", "callbacks_missed") == ["1", "3"]


async def test_a_callback_in_between_starts_the_count_anew(store: Store) -> None:
    waiting = await generating(store)
    for _ in range(2):
        await store.hand_over(await generating(store))
    called = await generating(store)
    await store.called_back(called, f"p-{called.job_id}")
    await store.hand_over(await store.ticket(called.job_id))
    for _ in range(2):
        await store.hand_over(await generating(store))
    assert (await looked_at(store, waiting)).callback == "awaited"


async def test_failures_that_no_callback_told_of_count_and_what_upstream_lost_does_not(store: Store) -> None:
    lost = FAILED.model_copy(update={"code": "output_unavailable"})
    for error in (lost, lost, lost, FAILED, FAILED):
        await store.attempts.failed(await generating(store), error)
    assert store.client.hget(keys.lane(DEFAULT_LANE), "callback_misses") == "2"


async def test_ends_of_sends_without_a_callback_say_nothing(store: Store) -> None:
    for _ in range(3):
        await store.hand_over(await store.generating())
    assert (await looked_at(store, await generating(store))).callback == "awaited"


async def test_all_processes_agree_on_one_key(store: Store) -> None:
    key = await store.callbacks.key()
    assert len(key) >= 32
    assert await CallbackStore(store.redis).key() == key


async def test_a_store_that_lost_the_key_gets_it_back_from_whoever_has_it(store: Store) -> None:
    now_s = 0.0
    ours = CallbackStore(store.redis, now_s=lambda: now_s)
    key = await ours.key()
    store.client.delete(keys.CALLBACK_KEY)
    now_s = READ_KEY_EVERY_S
    assert await ours.key() == key
    assert await CallbackStore(store.redis).key() == key


async def test_a_key_that_others_agreed_on_meanwhile_is_taken_up(store: Store) -> None:
    now_s = 0.0
    ours = CallbackStore(store.redis, now_s=lambda: now_s)
    await ours.key()
    store.client.set(keys.CALLBACK_KEY, "another")
    assert await ours.key() != b"another"
    now_s = READ_KEY_EVERY_S
    assert await ours.key() == b"another"


async def test_the_known_key_stays_in_use_while_the_store_is_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    ours = CallbackStore(store.redis, now_s=lambda: now_s)
    key = await ours.key()

    def away(self: Redis, **_: object) -> None:
        raise RedisConnectionError("away")

    monkeypatch.setattr(type(store.redis), "pipeline", away)
    now_s = READ_KEY_EVERY_S
    assert await ours.key() == key
    with pytest.raises(RedisConnectionError):
        await CallbackStore(store.redis).key()
