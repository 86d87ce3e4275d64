"""What is decided about repeats and waits, stepped through by hand: no I/O, no time passes."""

from collections.abc import Generator, Iterable
from typing import Any

import pytest

from darkroom.client import calls, steps
from darkroom.client.answers import Answer
from darkroom.client.calls import BatchOptions, Call
from darkroom.client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
    ServerFailed,
    Unauthorized,
    Unavailable,
    WaitTimeout,
)
from darkroom.client.steps import Pause
from darkroom.client.uploads import body_of
from darkroom.jobs import JobStatus
from tests.support.client_samples import BATCH_ID, JOB_ID, answer, batch_fields, job_fields, problem

LOST = ConnectionFailed("reset", connected=True)
REFUSED = ConnectionFailed("refused", connected=False)
GET = calls.read_one_job(JOB_ID)
POST_TWICE = calls.submit_job(None, None, prompt="a fox")
POST_ONCE = calls.retry_job(JOB_ID, fresh=False)


def play(generator: Generator[Any, Any, Any], outcomes: Iterable[Any]) -> tuple[Any, list[Any]]:
    """Answer each call with the next outcome; give the result and all that was asked for."""
    left = iter(outcomes)
    asked: list[Any] = []
    outcome = None
    while True:
        try:
            step = generator.send(outcome)
        except StopIteration as end:
            return end.value, asked
        asked.append(step)
        outcome = None if isinstance(step, Pause) else next(left)


def pauses(asked: list[Any]) -> list[float]:
    return [step.seconds for step in asked if isinstance(step, Pause)]


def sent(asked: list[Any]) -> list[Call[Any]]:
    return [step for step in asked if isinstance(step, Call)]


@pytest.mark.parametrize("call", [GET, POST_TWICE])
@pytest.mark.parametrize(
    "trouble",
    [LOST, REFUSED, problem("x", 502), problem("store_full", 503), problem("x", 504), problem("line_full", 429)],
)
def test_what_can_be_done_twice_is_repeated(call: Call[Any], trouble: Any) -> None:
    job, asked = play(steps.request(call, 2), [trouble, trouble, answer(job_fields())])
    assert job.id == JOB_ID
    assert sent(asked) == [call, call, call]


def test_the_repeats_of_a_submit_carry_one_key() -> None:
    _, asked = play(steps.request(POST_TWICE, 1), [LOST, answer(job_fields(), 202)])
    first, second = (call.headers["Idempotency-Key"] for call in sent(asked))
    assert first == second
    assert calls.submit_job(None, None, prompt="a fox").headers["Idempotency-Key"] != first
    assert calls.submit_job(None, "mine", prompt="a fox").headers["Idempotency-Key"] == "mine"


def test_a_retry_is_sent_once_unless_it_never_left() -> None:
    for trouble in (LOST, problem("store_unavailable", 503)):
        with pytest.raises((ConnectionFailed, Unavailable)):
            play(steps.request(POST_ONCE, 5), [trouble])
    job, asked = play(steps.request(POST_ONCE, 5), [REFUSED, answer(job_fields())])
    assert job.id == JOB_ID
    assert len(sent(asked)) == 2


def test_the_service_says_when_to_come_back() -> None:
    _, asked = play(steps.request(GET, 1), [problem("store_full", 503, retry_after="7"), answer(job_fields())])
    assert pauses(asked) == [7.0]


def test_a_pause_is_the_callers_to_make_when_it_is_long() -> None:
    with pytest.raises(RateLimited) as refusal:
        play(steps.request(POST_TWICE, 5), [problem("budget_exceeded", 429, retry_after="40000")])
    assert refusal.value.retry_after_s == 40_000


def test_pauses_grow_and_have_an_end() -> None:
    with pytest.raises(Unavailable):
        play(steps.request(GET, 0), [problem("x", 503)])
    _, asked = play(steps.request(GET, 9), [LOST] * 9 + [answer(job_fields())])
    grown = pauses(asked)
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(grown[:5]))
    assert max(grown) <= steps.LONGEST_PAUSE_S


def test_the_last_error_is_raised_once_the_tries_are_spent() -> None:
    with pytest.raises(ConnectionFailed) as failure:
        play(steps.request(GET, 2), [LOST, LOST, LOST])
    assert failure.value.connected


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(400, BadRequest), (401, Unauthorized), (403, Forbidden), (404, NotFound), (409, Conflict)],
        *[(413, BadRequest), (415, BadRequest), (422, Invalid), (500, ServerFailed), (301, ServerFailed)],
    ],
)
def test_a_refusal_is_raised_at_once_by_its_kind(status: int, kind: type[ApiError]) -> None:
    with pytest.raises(kind) as refusal:
        play(steps.request(GET, 5), [problem("some_code", status)])
    assert (refusal.value.code, refusal.value.status, refusal.value.detail) == ("some_code", status, "it can't be")


def batch_call(lines: Any) -> Call[Any]:
    return calls.submit_batch(body_of(lines), BatchOptions(), None)


def consume(call: Call[Any]) -> None:
    assert call.body is not None
    assert not isinstance(call.body, bytes)
    assert list(call.body.chunks())


def test_a_batch_is_sent_again_where_its_lines_can_be_read_again() -> None:
    call = batch_call([{"prompt": "a fox"}])
    consume(call)
    batch, asked = play(steps.request(call, 5), [LOST, answer(batch_fields(), 202)])
    assert batch.id == BATCH_ID
    assert len(sent(asked)) == 2


def test_lines_that_come_only_once_are_sent_only_once() -> None:
    call = batch_call(iter([{"prompt": "a fox"}]))
    _, asked = play(steps.request(call, 5), [REFUSED, answer(batch_fields(), 202)])
    assert len(sent(asked)) == 2
    consume(call)
    with pytest.raises(ConnectionFailed):
        play(steps.request(call, 5), [LOST])


def test_an_upload_that_is_still_under_way_is_waited_for() -> None:
    under_way = problem("idempotency_in_progress", 409, retry_after="1")
    batch, asked = play(steps.request(batch_call([]), 1), [under_way] * 9 + [answer(batch_fields(), 202)])
    assert batch.id == BATCH_ID
    assert len(pauses(asked)) == 9
    with pytest.raises(Conflict):
        play(steps.request(batch_call([]), 1), [under_way] * (steps.MOST_IN_PROGRESS + 1))


def test_a_cancel_whose_answer_was_lost_still_gives_the_canceled_job() -> None:
    lost_then_done = [LOST, problem("already_finished", 409), answer(job_fields("canceled"))]
    job, _ = play(steps.cancel_job(JOB_ID, 5), lost_then_done)
    assert job.status is JobStatus.CANCELED


def test_a_finished_job_is_not_canceled() -> None:
    with pytest.raises(Conflict, match="already_finished"):
        play(steps.cancel_job(JOB_ID, 5), [problem("already_finished", 409), answer(job_fields("completed"))])


def test_a_cancel_of_a_batch_whose_answer_was_lost_gives_the_batch() -> None:
    canceled = answer(batch_fields("canceled", cancel_requested_at="2026-11-26T08:00:00Z"))
    batch, _ = play(steps.cancel_batch(BATCH_ID, 5), [LOST, problem("already_finished", 409), canceled])
    assert batch.status == "canceled"
    finished = [problem("already_finished", 409), answer(batch_fields("completed"))]
    with pytest.raises(Conflict):
        play(steps.cancel_batch(BATCH_ID, 5), finished)


def test_a_wait_asks_again_until_the_end() -> None:
    outcomes = [answer(job_fields("queued")), LOST, answer(job_fields("storing")), answer(job_fields("completed"))]
    job, asked = play(steps.wait_for_job(JOB_ID, None, 5), outcomes)
    assert job.status is JobStatus.COMPLETED
    assert {call.query for call in sent(asked)} == {(("wait", "25"),)}
    assert pauses(asked), "a service that lets go early would be asked without end"


def test_a_wait_that_is_over_says_so() -> None:
    with pytest.raises(TimeoutError, match="still generating"):
        play(steps.wait_for_job(JOB_ID, 0, 5), [answer(job_fields("generating"))])
    with pytest.raises(WaitTimeout, match="still running"):
        play(steps.wait_for_batch(BATCH_ID, 0, None, 5), [answer(batch_fields())])


def test_a_batch_is_looked_at_less_and_less_often() -> None:
    seen: list[str] = []
    outcomes = [answer(batch_fields())] * 12 + [answer(batch_fields("completed"))]
    batch, asked = play(steps.wait_for_batch(BATCH_ID, None, lambda one: seen.append(one.status), 5), outcomes)
    assert batch.status == "completed"
    assert seen == ["running"] * 12 + ["completed"]
    looks = pauses(asked)
    assert looks == sorted(looks)
    assert looks[-1] == steps.LONGEST_LOOK_S


def test_an_address_of_an_output_is_a_redirect_that_is_not_followed() -> None:
    call = calls.output_address(JOB_ID, 0)
    address, _ = play(steps.request(call, 0), [Answer(307, {"location": "https://bucket.example/x"})])
    assert address == "https://bucket.example/x"
    with pytest.raises(ServerFailed, match="leads elsewhere"):
        play(steps.request(GET, 0), [Answer(307, {"location": "https://elsewhere.example/"})])
