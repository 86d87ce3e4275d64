"""What is decided around a call: repeat it or not, wait for an end, fetch outputs. Written once for both clients.

Each is a generator that yields what is to be done (a call, a pause, a fetch) and is sent the outcome; the clients only
do it, one by blocking and one by awaiting.
"""

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from darkroom.batches import Batch
from darkroom.client import calls
from darkroom.client.answers import Answer, error_of
from darkroom.client.calls import Call
from darkroom.client.errors import ApiError, Conflict, ConnectionFailed, RateLimited, Unavailable, WaitTimeout
from darkroom.client.files import Part
from darkroom.errors import DarkroomError
from darkroom.jobs import Job, JobStatus

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
LONGEST_RETRY_AFTER_S = 60.0
"""Where the service wants a longer pause (a budget that ends with the day), the caller decides."""

MOST_IN_PROGRESS = 60
"""Tries while the service still has the first upload of a batch under way."""

LONG_POLL_S = 25.0
"""One read that waits; shorter than what proxies cut an idle connection after."""

FIRST_LOOK_S, LONGEST_LOOK_S = 0.5, 10.0
"""Between two looks at a batch."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get what a URL leads to into a file, without any key; the outcome has no body."""

    url: str = field(repr=False)
    part: Part


Outcome = Answer | ConnectionFailed
Step = Call[Any] | Pause | Fetch
Steps = Generator[Step, Any, T]


def backoff_s(tries: int) -> float:
    """Give a pause that doubles with each try, jittered so that not all come back at once."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries, 10)) * random.uniform(0.5, 1.0)


def request(call: Call[T], retries: int) -> Steps[T]:
    """Make a call, repeated where that is safe and may help, at most `retries` times.

    Raises:
        ApiError: the API says no.
        ConnectionFailed: it says nothing.
        UnreadableAnswer: it is not understood.
    """
    tries = in_progress = 0
    while True:
        outcome: Outcome = yield call
        error = judged(outcome, call)
        if isinstance(error, Answer):
            return call.read(error)
        if _in_progress(error):
            in_progress += 1
            may_repeat = in_progress <= MOST_IN_PROGRESS
        else:
            may_repeat = tries < retries
        if not may_repeat or not safe_to_repeat(call, error):
            raise error from None
        yield Pause(pause_s(error, tries))
        tries += not _in_progress(error)


def judged(outcome: Outcome, call: Call[Any]) -> Answer | DarkroomError:
    """Give the answer where it is the one that is wanted, otherwise the error that it is."""
    if isinstance(outcome, ConnectionFailed):
        return outcome
    if call.redirects and outcome.status in (302, 303, 307) and "location" in outcome.headers:
        return outcome
    return error_of(outcome) or outcome


def safe_to_repeat(call: Call[Any], error: DarkroomError) -> bool:
    """Whether the same call again may succeed and can't do a thing twice."""
    if not (call.body is None or isinstance(call.body, bytes) or call.body.fresh):
        return False
    if isinstance(error, ConnectionFailed):
        return call.repeatable or not error.connected
    if isinstance(error, ApiError) and (error.retry_after_s or 0) > LONGEST_RETRY_AFTER_S:
        return False
    return call.repeatable and (isinstance(error, (RateLimited, Unavailable)) or _in_progress(error))


def pause_s(error: DarkroomError, tries: int) -> float:
    """Give how long to wait before the next try: as the service says, but never less than the backoff."""
    after_s = error.retry_after_s if isinstance(error, ApiError) else None
    return max(after_s or 0.0, backoff_s(tries))


def wait_for_job(job_id: str, timeout_s: float | None, retries: int) -> Steps[Job]:
    """Wait until a job is terminal.

    Raises:
        WaitTimeout: it is not within `timeout_s`.
    """
    deadline = _deadline(timeout_s)
    while True:
        began = time.monotonic()
        wait_s = max(0.0, min(LONG_POLL_S, deadline - began))
        job = yield from request(calls.read_one_job(job_id, wait_s), retries)
        if job.status.terminal:
            return job
        now = time.monotonic()
        if now >= deadline:
            raise WaitTimeout(f"{job_id} is still {job.status} after {timeout_s:g} s")
        if now - began < wait_s / 2:  # the service is being stopped and let go early
            yield Pause(min(backoff_s(0), deadline - now))


def wait_for_batch(
    batch_id: str, timeout_s: float | None, progress: Callable[[Batch], None] | None, retries: int
) -> Steps[Batch]:
    """Wait until a batch has finished, telling `progress` at each look; raises as `wait_for_job`."""
    deadline = _deadline(timeout_s)
    look_s = FIRST_LOOK_S
    while True:
        batch = yield from request(calls.read_one_batch(batch_id), retries)
        if progress is not None:
            progress(batch)
        if batch.status.terminal:
            return batch
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise WaitTimeout(f"{batch_id} is still {batch.status} after {timeout_s:g} s")
        yield Pause(min(look_s, left_s))
        look_s = min(look_s * 1.5, LONGEST_LOOK_S)


def cancel_job(job_id: str, retries: int) -> Steps[Job]:
    """Cancel a job; where an earlier try did it and its answer was lost, give the canceled job all the same."""
    call = calls.cancel_job(job_id)
    try:
        return (yield from request(call, retries))
    except Conflict as refusal:
        job = yield from request(calls.read_one_job(job_id), retries)
        if job.status is JobStatus.CANCELED:
            return job
        raise refusal from None


def cancel_batch(batch_id: str, retries: int) -> Steps[Batch]:
    """Do for a batch what `cancel_job` does for a job."""
    try:
        return (yield from request(calls.cancel_batch(batch_id), retries))
    except Conflict as refusal:
        batch = yield from request(calls.read_one_batch(batch_id), retries)
        if batch.cancel_requested_at is not None:
            return batch
        raise refusal from None


def _in_progress(error: DarkroomError) -> bool:
    return isinstance(error, Conflict) and error.code == "idempotency_in_progress"


def _deadline(timeout_s: float | None) -> float:
    return float("inf") if timeout_s is None else time.monotonic() + timeout_s
