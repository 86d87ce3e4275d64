"""After a failover, what was paid for jobs that wait again is given to them, and is not bought again."""

import time

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store.attempts import Moved, TakenOver, Ticket
from tests.support.stores import HOUR_MS, Store


async def take_over(store: Store, job_id: str, prediction_id: str = "p1") -> TakenOver:
    return await store.attempts.take_over(
        job_id, prediction_id=prediction_id, lane=DEFAULT_LANE, created_ms=1_700_000_000_000, look_in_ms=HOUR_MS
    )


async def test_a_waiting_job_is_given_what_was_bought_for_it(store: Store) -> None:
    job_id = await store.post(max_images=3)
    assert await take_over(store, job_id) is TakenOver.DONE
    record = await store.read(job_id)
    assert (record.status, record.job["submits"], record.attempt["prediction_id"]) == ("generating", "1", "p1")
    assert await store.spent(job_id) == 3
    assert await take_over(store, job_id) is TakenOver.KNOWN
    assert await store.spent(job_id) == 3
    assert (await store.admit()).tickets == []
    assert await store.complete(await store.hand_over(await store.ticket(job_id))) is Moved.DONE


async def test_what_was_bought_lately_counts_against_the_rate(store: Store) -> None:
    await store.limits(rate=4)
    job_id, _ = await store.post(max_images=3), await store.post(max_images=2)
    assert (
        await store.attempts.take_over(
            job_id, prediction_id="p1", lane=DEFAULT_LANE, created_ms=time.time_ns() // 1_000_000, look_in_ms=HOUR_MS
        )
        is TakenOver.DONE
    )
    assert store.used() == 3
    assert (await store.admit()).reason == "rate"


async def test_a_job_put_back_is_given_what_was_bought_for_it(store: Store) -> None:
    ticket = await store.admitted()
    assert await take_over(store, ticket.job_id) is TakenOver.ADMITTED
    await store.attempts.unadmit([ticket])
    assert await take_over(store, ticket.job_id) is TakenOver.DONE


async def test_only_who_waits_is_given_only_what_nobody_owns(store: Store) -> None:
    owner = await store.generating()
    waiting = await store.post()
    assert await take_over(store, waiting, f"p-{owner.job_id}") is TakenOver.FOREIGN
    assert await take_over(store, owner.job_id) is TakenOver.NOT_WAITING
    await store.jobs.cancel(waiting)
    assert await take_over(store, waiting) is TakenOver.NOT_WAITING
    assert await take_over(store, "job_none") is TakenOver.NOT_WAITING


async def test_the_answer_to_a_send_whose_intent_was_lost_is_kept(store: Store) -> None:
    """The promoted replica had the job back in its place, and knows of one send fewer."""
    ticket = await store.submitting()
    assert await store.attempts.returned(ticket, "never_left") is Moved.DONE
    assert await store.accept(Ticket(ticket.job_id, 1, 9), "p1", send=2) is Moved.DONE
    assert await store.status(ticket.job_id) == "generating"
    assert await store.spent(ticket.job_id) == 1
    assert (await store.read(ticket.job_id)).attempt["sends"] == "2"
