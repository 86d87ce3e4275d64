"""A call that the connection repeats because its answer was lost gives the answer that was lost."""

import pytest

from darkroom.store.attempts import Moved
from darkroom.store.jobs import ConflictError
from darkroom.store.scripts import Scripts
from tests.support.stores import HOUR_MS, Store


async def twice(store: Store, name: str, *args: str | int) -> list[object]:
    """Do as the connection does: the very same call once more."""
    scripts = Scripts(store.redis)
    return [await scripts.call(name, *args), await scripts.call(name, *args)]


async def test_a_repeated_cancel_is_no_conflict(store: Store) -> None:
    running, waiting = (await store.generating()).job_id, await store.post()
    assert await twice(store, "cancel", waiting, "mine") == [1, 1]
    assert await twice(store, "cancel", running, "mine") == [1, 1]
    with pytest.raises(ConflictError):
        await store.jobs.cancel(waiting)
    assert store.events(waiting) == []


async def test_anothers_cancel_is_a_conflict_still(store: Store) -> None:
    job_id = await store.post()
    await store.jobs.cancel(job_id)
    assert await twice(store, "cancel", job_id, "mine") == [-2, -2]


async def test_a_job_that_ended_otherwise_was_not_canceled(store: Store) -> None:
    ticket = await store.storing()
    await store.complete(ticket)
    assert await twice(store, "cancel", ticket.job_id, "") == [-2, -2]


async def test_a_repeated_hand_over_gives_the_lease_to_store_under(store: Store) -> None:
    ticket = await store.generating(max_images=2)
    handed = await store.hand_over(ticket)
    assert await store.hand_over(ticket) == handed
    assert await store.attempts.claim_store(handed, lease_ms=HOUR_MS) is not None
    again = await store.attempts.hand_over(ticket, sources="[]", inference_ms=None, polls=1, wait_ms=1)
    assert again is None


async def test_a_repeated_take_over_is_known(store: Store) -> None:
    job_id = await store.post()
    assert await twice(store, "take_over", job_id, "p1", "default", 1_700_000_000_000, HOUR_MS) == [1, 0]


async def test_a_repeated_complete_says_again_what_became_of_the_outputs(store: Store) -> None:
    kept, late = await store.storing(), await store.storing()
    await store.jobs.cancel(late.job_id)
    for ticket, answer in ((kept, 1), (late, 2)):
        assert await twice(store, "complete", *ticket.key, 1, 1_700_000_000_000) == [answer, answer]
        older = ticket.job_id, ticket.attempt, ticket.lease - 1
        assert await twice(store, "complete", *older, 1, 1_700_000_000_000) == [-1, -1]
    assert (store.usage()["images_delivered"], store.usage()["completed"]) == (2, 1)
    await store.jobs.retry(late.job_id)
    assert await store.complete(late) is Moved.STALE
