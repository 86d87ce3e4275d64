"""Sending: the intent and the money are written down first, and each answer is settled once."""

import pytest

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Moved, Ticket
from darkroom.store.owners import owners_of
from tests.support.stores import HOUR_MS, UNSETTLED, Store


async def test_admitted_job_still_shows_queued_and_has_cost_nothing(store: Store) -> None:
    ticket = await store.admitted(max_images=4)
    assert await store.status(ticket.job_id) == "queued"
    assert await store.spent(ticket.job_id) == 0


async def test_intent_counts_the_money_and_the_send(store: Store) -> None:
    ticket = await store.admitted(max_images=4)
    assert await store.begin(ticket) == 1
    record = await store.read(ticket.job_id)
    assert (record.status, record.job["submits"], record.job["spent_images"]) == ("submitting", "1", "4")


async def test_intent_can_be_written_once_per_admission(store: Store) -> None:
    ticket = await store.submitting()
    again = await store.attempts.begin_submit(ticket, lease_ms=1, sync_lease_ms=1, key="k")
    assert again is None
    assert (await store.read(ticket.job_id)).job["submits"] == "1"


async def test_paused_lane_takes_an_admitted_job_back_to_its_place(store: Store) -> None:
    first, ticket = await store.admitted(), await store.admitted()
    await store.lanes.pause(DEFAULT_LANE, "operator")
    for held in (ticket, first):
        assert await store.attempts.begin_submit(held, lease_ms=1, sync_lease_ms=1, key="k") is None
    assert (await store.read(first.job_id)).place == 1
    assert store.used() == 0


async def test_send_that_never_left_gives_back_money_and_reservation(store: Store) -> None:
    ticket = await store.submitting(max_images=3)
    assert store.used() == 3
    assert await store.attempts.returned(ticket, "never_left") is Moved.DONE
    assert (store.used(), await store.spent(ticket.job_id), await store.status(ticket.job_id)) == (0, 0, "queued")


async def test_refused_for_now_gives_back_the_money_and_keeps_the_reservation(store: Store) -> None:
    ticket = await store.submitting(max_images=3)
    assert await store.attempts.returned(ticket, "not_now") is Moved.DONE
    assert (store.used(), await store.spent(ticket.job_id)) == (3, 0)


async def test_job_that_comes_back_keeps_its_place_and_its_attempt(store: Store) -> None:
    ticket = await store.submitting()
    await store.post()
    await store.attempts.returned(ticket, "not_now")
    record = await store.read(ticket.job_id)
    assert (record.place, record.attempt_number) == (1, 1)


async def test_lost_answer_keeps_money_and_slot_until_it_is_settled(store: Store) -> None:
    ticket = await store.unconfirmed(max_images=2)
    assert await store.status(ticket.job_id) == "unconfirmed"
    assert await store.spent(ticket.job_id) == 2
    assert list(store.cell().at(keys.slots(DEFAULT_LANE))) == [f"{ticket.job_id}:1"]


async def test_late_direct_answer_settles_an_unconfirmed_submit(store: Store) -> None:
    ticket = await store.unconfirmed()
    assert await store.accept(ticket, "p1") is Moved.DONE
    assert await store.accept(ticket, "p1") is Moved.NOTHING
    assert await store.status(ticket.job_id) == "generating"


async def test_answer_after_the_slot_lapsed_takes_a_slot_again(store: Store) -> None:
    ticket = await store.unconfirmed()
    store.client.zadd(keys.slots(DEFAULT_LANE), {f"{ticket.job_id}:1": 1})
    assert (await store.admit()).reason == "empty"
    assert store.cell().at(keys.slots(DEFAULT_LANE)) == {}
    assert await store.accept(ticket, "p1") is Moved.DONE
    assert store.cell().at(keys.slots(DEFAULT_LANE)) == {f"{ticket.job_id}:1": float("inf")}


async def test_listings_without_it_are_counted_and_absence_takes_the_money_back(store: Store) -> None:
    ticket = await store.unconfirmed(max_images=2)
    for listings in (1, 2, 3):
        absence = await store.absent(ticket, f"listing {listings}")
        assert absence is not None
        assert (absence.listings, absence.absent_before) == (listings, 0)
    assert await store.attempts.returned(ticket, "absent") is Moved.DONE
    assert await store.spent(ticket.job_id) == 0
    assert await store.status(ticket.job_id) == "queued"


async def test_listings_are_counted_anew_for_each_lost_send(store: Store) -> None:
    ticket = await store.unconfirmed()
    await store.absent(ticket)
    await store.attempts.returned(ticket, "absent")
    [ticket] = (await store.admit()).tickets
    await store.begin(ticket)
    await store.attempts.unknown(ticket, look_in_ms=0, message="again")
    absence = await store.absent(await store.ticket(ticket.job_id), "a later listing")
    assert absence is not None
    assert (absence.listings, absence.absent_before) == (1, 1)


async def test_one_listing_counts_once_however_often_it_is_told(store: Store) -> None:
    ticket = await store.unconfirmed()
    for _ in range(3):
        absence = await store.absent(ticket, "the same")
        assert absence is not None
        assert absence.listings == 1


async def test_listing_begun_before_the_last_byte_could_have_left_proves_nothing(store: Store) -> None:
    ticket = await store.unconfirmed()
    absence = await store.absent(ticket, age_ms=HOUR_MS)
    assert absence is not None
    assert absence.listings == 0
    assert absence.since_last_byte_ms < 0


async def test_adoption_settles_an_unconfirmed_submit_only(store: Store) -> None:
    sending = await store.submitting()
    assert await store.accept(sending, "p1", adopted=True) is Moved.STALE
    lost = await store.unconfirmed()
    assert await store.accept(lost, "p1", adopted=True) is Moved.DONE


async def test_adoption_that_names_an_older_send_is_stale_and_takes_nothing(store: Store) -> None:
    ticket = await store.unconfirmed()
    await store.attempts.returned(ticket, "absent")
    [ticket] = (await store.admit()).tickets
    assert await store.begin(ticket) == 2
    await store.attempts.unknown(ticket, look_in_ms=0, message="again")
    assert await store.accept(ticket, "p1", send=1, adopted=True) is Moved.STALE
    assert await owners_of(store.redis, ["p1"]) == {}
    assert await store.accept(ticket, "p1", send=2, adopted=True) is Moved.DONE


async def test_prediction_belongs_to_one_attempt(store: Store) -> None:
    first, second = await store.unconfirmed(), await store.unconfirmed()
    assert await store.accept(first, "p1", adopted=True) is Moved.DONE
    assert await store.accept(second, "p1", adopted=True) is Moved.FOREIGN
    third = await store.generating()
    assert await store.accept(second, f"p-{third.job_id}") is Moved.FOREIGN
    assert await owners_of(store.redis, ["p1", "p2"]) == {"p1": f"{first.job_id}:1"}


async def test_second_prediction_of_a_send_is_kept_and_paid_once_however_often_it_is_told(store: Store) -> None:
    ticket = await store.generating(max_images=2)
    for _ in range(3):
        assert await store.accept(ticket, "second") is Moved.DUPLICATE
    assert await store.spent(ticket.job_id) == 4
    assert store.client.hget(keys.attempt(ticket.job_id, 1), "duplicates") == "second"
    assert store.client.hget(keys.TOTALS, "duplicate_predictions") == "1"


async def test_answer_to_an_earlier_send_counts_as_paid_twice(store: Store) -> None:
    ticket = await store.unconfirmed(max_images=2)
    await store.attempts.returned(ticket, "absent")
    [ticket] = (await store.admit()).tickets
    assert await store.begin(ticket) == 2
    assert await store.accept(ticket, "first", send=1) is Moved.DUPLICATE
    assert await store.accept(ticket, "second", send=2) is Moved.DONE
    assert await store.spent(ticket.job_id) == 4


async def test_answer_after_the_submit_was_given_up_is_kept_and_paid_once(store: Store) -> None:
    ticket = await store.unconfirmed(max_images=2)
    assert await store.attempts.failed(ticket, UNSETTLED) is Moved.DONE
    assert await store.accept(ticket, "p1") is Moved.DONE
    assert (await store.status(ticket.job_id), await store.spent(ticket.job_id)) == ("failed", 2)
    storing = await store.hand_over(await store.ticket(ticket.job_id))
    assert await store.complete(storing) is Moved.OTHER
    assert list((await store.read(ticket.job_id)).late) == [1]


@pytest.mark.parametrize("state", ["admitted", "submitting", "unconfirmed", "generating", "storing"])
async def test_stale_lease_moves_nothing(store: Store, state: str) -> None:
    good: Ticket = await getattr(store, state)()
    before = store.cell().values
    old = Ticket(good.job_id, good.attempt, good.lease - 1)
    attempts = store.attempts
    await attempts.unadmit([old])
    assert await attempts.begin_submit(old, lease_ms=1, sync_lease_ms=1, key="k") is None
    for why in ("never_left", "not_now", "absent"):
        assert await attempts.returned(old, why) is Moved.STALE
    assert await attempts.unknown(old, look_in_ms=1, message="") is Moved.STALE
    assert await attempts.absent(old, look_in_ms=1, mark="m", began_ms=1) is None
    assert await attempts.resumed(old) is Moved.STALE
    handed = await attempts.hand_over(old, sources="[]", inference_ms=1, polls=1, wait_ms=1)
    assert handed == (good if state == "storing" else None)  # the lost answer once more: nobody has begun to store
    assert await attempts.claim_store(old, lease_ms=HOUR_MS) is None
    assert await attempts.save_output(old, 0, "{}") is Moved.STALE
    assert await attempts.store_later(old, delay_ms=1, message="") is Moved.STALE
    assert await attempts.complete(old, delivered=1, finished_ms=1) is Moved.STALE
    assert await attempts.failed(old, UNSETTLED) is Moved.STALE
    assert await attempts.time_out(old, UNSETTLED) is Moved.STALE
    assert store.cell().values == before
