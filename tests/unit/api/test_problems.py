"""One mapping from what went wrong to what is answered."""

import orjson
import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

from api.problems import CODES, Problem, problem_of
from darkroom.errors import RetryableError, StaleLeaseError
from darkroom.storage.errors import StorageUnavailableError
from darkroom.store.jobs import ConflictError, LineFullError
from darkroom.store.uploads import TooManyUploadsError


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ConflictError("idempotency_mismatch", "m"), 422, "idempotency_mismatch"),
        (ConflictError("already_finished", "m"), 409, "already_finished"),
        (ConflictError("not_retryable", "m"), 409, "not_retryable"),
        (ConflictError("submit_unconfirmed", "m"), 409, "submit_unconfirmed"),
        (LineFullError("60 jobs are waiting"), 429, "line_full"),
        (TooManyUploadsError("8 uploads"), 429, "too_many_uploads"),
        (ConnectionError("redis://:password@host refused"), 503, "store_unavailable"),
        (AuthenticationError("invalid password"), 503, "store_unavailable"),
        (BusyLoadingError("loading"), 503, "store_unavailable"),
        (TimeoutError("too slow"), 503, "store_unavailable"),
        (ReadOnlyError("a replica"), 503, "store_unavailable"),
        (OutOfMemoryError("maxmemory"), 503, "store_full"),
        (StorageUnavailableError("bucket b is away", delay_s=4.2), 503, "unavailable"),
    ],
)
def test_each_kind_of_error_has_its_answer(error: Exception, status: int, code: str) -> None:
    problem = problem_of(error)
    assert problem is not None
    assert (problem.status, problem.code) == (status, code)
    assert ("Retry-After" in problem.headers) == (status in (429, 503))
    assert "password" not in problem.detail


def test_what_is_a_bug_is_no_problem_of_the_callers() -> None:
    for error in (ResponseError("ERR user_script:1"), StaleLeaseError("x"), ValueError("x")):
        assert problem_of(error) is None


def test_the_time_to_come_back_is_rounded_up_to_whole_seconds() -> None:
    for delay_s, said in ((4.2, "5"), (0, "1")):
        problem = problem_of(RetryableError("later", delay_s=delay_s))
        assert problem is not None
        assert problem.headers["Retry-After"] == said


def test_a_problem_is_written_as_rfc_9457_says() -> None:
    response = Problem("line_full", "later").response()
    assert (response.status_code, response.media_type) == (429, "application/problem+json")
    assert orjson.loads(response.body) == {
        "type": "urn:darkroom:problem:line_full",
        "title": CODES["line_full"][1],
        "status": 429,
        "detail": "later",
        "code": "line_full",
    }


@pytest.mark.parametrize("answer", ["NOREPLICAS Not enough good replicas to write.", "MISCONF Errors writing to disk"])
def test_a_store_that_takes_no_writes_just_now_is_no_bug(answer: str) -> None:
    problem = problem_of(ResponseError(answer))
    assert problem is not None
    assert (problem.code, problem.status) == ("store_unavailable", 503)
