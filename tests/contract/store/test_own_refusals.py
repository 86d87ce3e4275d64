"""Refused although the account is fine: a job that is itself the reason ends, and an account that is loses no job."""

import pytest

from darkroom.jobs import JobError
from darkroom.line.lanes import DEFAULT_LANE, Refusals
from darkroom.store import keys
from darkroom.store.attempts import Moved, Ticket
from tests.support.stores import Store

BLOCKED = JobError(code="invalid_request", message="blocked", retryable=False)
MOST = 3


async def begin(store: Store, tickets: list[Ticket]) -> list[tuple[Ticket, int]]:
    """Write the intents down; gives each ticket with its send's number."""
    return [(ticket, await store.begin(ticket)) for ticket in tickets]


async def refuse(store: Store, ticket: Ticket, send: int) -> Refusals:
    """Have upstream refuse a job's send, and settle it as the worker does."""
    refusals = await store.lanes.count_refusal(DEFAULT_LANE, ticket, send=send)
    if refusals.meets_others:
        await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
    if refusals.count >= MOST:
        assert await store.attempts.failed(ticket, BLOCKED, created_nothing=True) is Moved.DONE
    else:
        assert await store.attempts.returned(ticket, "not_now") is Moved.DONE
    return refusals


async def send_all(store: Store, poison: list[str]) -> None:
    """Send what may go at once, and a minute later open the lane as its probe does."""
    for ticket, send in await begin(store, (await store.admit()).tickets):
        if ticket.job_id in poison:
            await refuse(store, ticket, send)
        else:
            await store.accept(ticket, f"p-{ticket.job_id}", send=send)
            await store.complete(await store.hand_over(await store.ticket(ticket.job_id)))
    store.pass_the_window()
    await store.lanes.reopen(DEFAULT_LANE, "auth")


@pytest.mark.parametrize(("concurrency", "bad"), [(100, 1), (1, 1), (1, 4), (100, 5)])
async def test_jobs_that_upstream_always_refuses_end_and_all_others_go_on(
    store: Store, concurrency: int, bad: int
) -> None:
    poison = [await store.post("a", prompt="DROP TABLE foxes") for _ in range(bad)]
    others = [await store.post(tenant) for tenant in ("a", "b", "b")]
    await store.limits(concurrency=concurrency)
    for _ in range(3 * bad + 3):
        await send_all(store, poison)
    assert [await store.status(job_id) for job_id in poison] == ["failed"] * bad
    assert [await store.status(job_id) for job_id in others] == ["completed"] * 3
    assert [await store.spent(job_id) for job_id in poison] == [0] * bad
    [state] = await store.lanes.states()
    assert state.state == "open"


async def test_account_that_takes_no_job_pauses_at_the_third_and_blames_one_job_an_opening(store: Store) -> None:
    for _ in range(8):
        await store.post()
    tickets = (await store.admit()).tickets
    answers = [await refuse(store, *sent) for sent in await begin(store, tickets)]
    assert [answer.count for answer in answers] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert [answer.meets_others for answer in answers] == [False, False, True, *[False] * 5]
    for blamed in (4, 5):
        store.pass_the_window()
        assert await store.lanes.reopen(DEFAULT_LANE, "auth")
        sends = await begin(store, (await store.admit()).tickets)
        answers = [await refuse(store, *sent) for sent in sends]
        assert [answer.meets_others for answer in answers] == [True, *[False] * 7]
        assert sum(count_of(store, ticket) for ticket in tickets) == blamed


def count_of(store: Store, ticket: Ticket) -> int:
    """Give how many refusals were counted against the job."""
    return int(str(store.client.hget(keys.attempt(ticket.job_id, 1), "own_refusals") or 0))


async def test_lane_that_only_seems_fine_is_tried_ever_later_until_a_send_is_accepted(store: Store) -> None:
    delays: list[int] = []
    for _ in range(7):
        await store.lanes.pause(DEFAULT_LANE, "auth", probe_s=15)
        seconds, microseconds = store.client.time()
        [state] = await store.lanes.states()
        delays.append(round((state.resumes_at_ms or 0) / 1000 - seconds - microseconds / 1_000_000))
        await store.lanes.reopen(DEFAULT_LANE, "auth")
    assert delays == [15, 30, 60, 120, 240, 480, 600]
    await store.generating()
    assert store.client.hget(keys.lane(DEFAULT_LANE), "trials") is None


@pytest.mark.parametrize("clears", ["an accepted send", "an operator"])
async def test_refusals_are_the_jobs_own_again_after_what_shows_that_the_lane_works(store: Store, clears: str) -> None:
    for _ in range(4):
        await store.post()
    *refused, other = await begin(store, (await store.admit()).tickets)
    for sent in refused:
        await refuse(store, *sent)
    if clears == "an operator":
        await store.lanes.resume(DEFAULT_LANE)
    else:
        await store.lanes.reopen(DEFAULT_LANE, "auth")
        await store.accept(other[0], "p1")
    store.pass_the_window()
    tickets = [ticket for ticket in (await store.admit()).tickets if ticket.job_id != other[0].job_id]
    answers = [await refuse(store, *sent) for sent in await begin(store, tickets)]
    assert answers == [Refusals(2, meets_others=False)] * 2 + [Refusals(2, meets_others=True)]


async def test_same_send_counts_once_and_a_stale_one_not_at_all(store: Store) -> None:
    ticket = await store.submitting()
    for _ in range(2):
        assert await store.lanes.count_refusal(DEFAULT_LANE, ticket, send=1) == Refusals(1, meets_others=False)
    await store.attempts.returned(ticket, "not_now")
    assert await store.lanes.count_refusal(DEFAULT_LANE, ticket, send=1) == Refusals(0, meets_others=False)
    gone = Ticket("job_gone", 1, 1)
    assert await store.lanes.count_refusal(DEFAULT_LANE, gone, send=1) == Refusals(0, meets_others=False)
    assert keys.attempt("job_gone", 1) not in store.cell().values
