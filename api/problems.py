"""Errors as RFC 9457 problems: every public code with its HTTP status, and what each kind of error becomes.

This is the one place where a status is chosen. No problem repeats what the caller sent: bodies hold prompts, and
URLs hold secrets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.validation import FieldError, field_errors
from darkroom.errors import DarkroomError, RetryableError
from darkroom.store.connection import UNAVAILABLE
from darkroom.store.jobs import BudgetError, ConflictError, LineFullError
from darkroom.store.room import StoreFullError
from darkroom.store.scripts import NotAcknowledgedError
from darkroom.store.uploads import TooManyUploadsError

MEDIA_TYPE = "application/problem+json"
STORE_RETRY_S = 2
LINE_RETRY_S = 10
UPLOADS_RETRY_S = 5

CODES: dict[str, tuple[int, str]] = {
    "invalid_json": (400, "The body is not a JSON object"),
    "invalid_idempotency_key": (400, "The Idempotency-Key can't be used"),
    "bad_request": (400, "The request can't be read"),
    "unauthorized": (401, "A valid API key is needed"),
    "operators_only": (403, "This needs an operator's key"),
    "invalid_signature": (403, "Upstream has not signed this just now"),
    "not_found": (404, "There is no such thing"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "already_finished": (409, "It has finished"),
    "not_retryable": (409, "The job can't be retried"),
    "nothing_to_resolve": (409, "There is nothing to resolve"),
    "job_canceled": (409, "The job was canceled"),
    "prediction_mismatch": (409, "The prediction is another request's"),
    "prediction_owned": (409, "The prediction belongs to another job"),
    "too_many_secrets": (409, "Too many secrets sign already"),
    "submit_unconfirmed": (409, "The last submit is not settled"),
    "idempotency_in_progress": (409, "The first upload under this Idempotency-Key is under way"),
    "batch_dropped": (409, "The upload was given up"),
    "retry_in_progress": (409, "Another retry of the batch is under way"),
    "idempotency_result_gone": (409, "The first job of this Idempotency-Key is gone"),
    "upload_stalled": (408, "The upload stalled"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body's type is not supported"),
    "too_many_lines": (422, "The batch has too many jobs"),
    "validation_error": (422, "The request is not valid"),
    "idempotency_mismatch": (422, "The Idempotency-Key was used with another body"),
    "exceeds_budget": (422, "It costs more than a whole budget"),
    "budget_exceeded": (429, "Today's budget is spent"),
    "too_many_uploads": (429, "Too many uploads are under way"),
    "line_full": (429, "Too many jobs are waiting"),
    "internal_error": (500, "Something went wrong here"),
    "store_unavailable": (503, "The store can't be reached"),
    "store_full": (503, "The store is full"),
    "storage_unavailable": (503, "The bucket can't be used"),
    "unavailable": (503, "Not possible at the moment"),
}


@dataclass(eq=False)
class Problem(Exception):
    """An answer that is an error; `code` decides its status."""

    code: str
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return CODES[self.code][0]

    def body(self) -> dict[str, Any]:
        """Give the members of RFC 9457, `code`, and the fields that are wrong."""
        shown: dict[str, Any] = {
            "type": f"urn:darkroom:problem:{self.code}",
            "title": CODES[self.code][1],
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            shown["errors"] = [{"loc": list(error.loc), "msg": error.msg} for error in self.errors]
        return shown

    def response(self) -> Response:
        """Give the answer."""
        return Response(orjson.dumps(self.body()), self.status, dict(self.headers), media_type=MEDIA_TYPE)


def not_found(what: str) -> Problem:
    """Say that there is none, or none that the caller may see."""
    return Problem("not_found", f"there is no such {what}, or it is not yours, or its time is over")


def invalid(errors: Sequence[FieldError]) -> Problem:
    """Say which fields are wrong and how to mend them."""
    first = errors[0]
    where = ".".join(str(part) for part in first.loc)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem("validation_error", f"{where}: {first.msg}{more}", errors)


def problem_of(error: Exception) -> Problem | None:
    """Map an expected error; None for one that is a bug."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return invalid(field_errors(error.errors()))
        case HTTPException():
            return _of_framework(error)
        case RedisError():
            return _of_store(error)
        case ConflictError():
            return Problem(error.code, f"{error}{_MENDS.get(error.code, '')}")
        case LineFullError():
            return _of_line(error)
        case BudgetError(resets_in_s=None):
            return Problem("exceeds_budget", f"{error}; ask for fewer images, or have the budget raised")
        case BudgetError():
            detail = f"{error}; it resets at midnight UTC"
            return Problem("budget_exceeded", detail, headers=_after(error.resets_in_s or 0))
        case StoreFullError():
            return _store_full()
        case RetryableError():
            return Problem("unavailable", str(error), headers=_after(error.delay_s))
        case DarkroomError():
            return None
    return None


def _of_line(error: LineFullError) -> Problem:
    if isinstance(error, TooManyUploadsError):
        detail = f"{error}; try again once one of them has ended"
        return Problem("too_many_uploads", detail, headers=_after(UPLOADS_RETRY_S))
    return Problem("line_full", f"{error}; try again once some have left the line", headers=_after(LINE_RETRY_S))


_TAKES_NO_WRITES = ("NOREPLICAS", "MISCONF")
"""Answers of a server that has too few replicas, or can't write to its disk; redis-py has no classes for them."""

_MENDS = {
    "idempotency_mismatch": "; use a new key for a new job",
    "already_finished": "; read it for its result",
}


def _of_framework(error: HTTPException) -> Problem:
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return Problem("not_found", "there is nothing at this address; /docs lists what there is", headers=headers)
    if error.status_code == 405:
        return Problem("method_not_allowed", f"allowed here: {headers.get('Allow', 'see /docs')}", headers=headers)
    return Problem("bad_request", str(error.detail), headers=headers)


def _of_store(error: RedisError) -> Problem | None:
    if isinstance(error, OutOfMemoryError):
        return _store_full()
    if isinstance(error, NotAcknowledgedError):
        detail = "too few replicas of the store have this yet, so it does not count; repeat it with its Idempotency-Key"
        return Problem("store_unavailable", detail, headers=_after(STORE_RETRY_S))
    if isinstance(error, (*UNAVAILABLE, ReadOnlyError)) or str(error).startswith(_TAKES_NO_WRITES):
        detail = "the store can't be reached just now; repeat the call, with an Idempotency-Key where it makes a job"
        return Problem("store_unavailable", detail, headers=_after(STORE_RETRY_S))
    return None


def _store_full() -> Problem:
    detail = "the store has no room for another job; what it holds goes on"
    return Problem("store_full", detail, headers=_after(LINE_RETRY_S))


def _after(delay_s: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, ceil(delay_s)))}
