"""What the client raises, by what its caller does next; none holds a key, a signed URL or a body that was sent."""

import httpx

from darkroom.errors import DarkroomError


class ApiError(DarkroomError):
    """The API says no.

    `code` is its stable name (`line_full`), `status` the HTTP status, `errors` the wrong fields as `{"loc", "msg"}`
    (empty for other errors), `retry_after_s` the seconds after which the same call may succeed (None: not said).
    """

    def __init__(
        self,
        code: str,
        *,
        status: int,
        detail: str,
        errors: list[dict[str, object]] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code}, HTTP {status})")
        self.code = code
        self.status = status
        self.detail = detail
        self.errors = errors or []
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        """Let it cross processes; exceptions with keyword arguments can't by themselves."""
        return _rebuild, (type(self), self.code, self.status, self.detail, self.errors, self.retry_after_s)


class BadRequest(ApiError):
    """400, 405, 413, 415: the call can't be read; permanent."""


class Unauthorized(ApiError):
    """401: no valid API key."""


class Forbidden(ApiError):
    """403: only operators may."""


class NotFound(ApiError):
    """404: no such thing, or another tenant's, or its time is over."""


class Conflict(ApiError):
    """409: its state does not allow it; `code` says which (`already_finished`, `not_retryable`, …)."""


class Invalid(ApiError):
    """422: fields are wrong and `errors` names each, or the Idempotency-Key has been used for something else."""


class RateLimited(ApiError):
    """429: too many jobs wait, or the day's budget is spent; retryable after `retry_after_s`."""


class Unavailable(ApiError):
    """502, 503, 504: not just now; retryable after `retry_after_s`."""


class ServerFailed(ApiError):
    """Any other status that is no success: a bug there, or no Darkroom at this address."""


class ConnectionFailed(DarkroomError):
    """No whole answer came. With `connected` false nothing was sent; otherwise it is unknown what the call has done."""

    def __init__(self, message: str, *, connected: bool) -> None:
        super().__init__(message)
        self.connected = connected

    def __reduce__(self) -> tuple[object, ...]:
        """Let it cross processes."""
        return _rebuild_connection, (str(self), self.connected)


class UnreadableAnswer(DarkroomError):
    """An answer or an event that is not what this version of the client understands."""


class WaitTimeout(DarkroomError, TimeoutError):
    """The time given to a wait is over; the job or batch goes on, and so may another wait."""


class NotFinished(DarkroomError):
    """The job has no outputs to fetch yet."""


class DownloadFailed(DarkroomError):
    """An output could not be fetched whole, or is not what the job says; nothing of it was left in the directory."""


class WebhookRefused(DarkroomError):
    """The signature does not fit: answer 401 and do nothing."""


OF_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: BadRequest,
    409: Conflict,
    413: BadRequest,
    415: BadRequest,
    422: Invalid,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
"""The one place where an HTTP status becomes a kind of error; others are `ServerFailed`."""

_NEVER_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def connection_failed(error: httpx.RequestError, what: str) -> ConnectionFailed:
    """Say what failed between here and `what` (a host, never a URL)."""
    said = str(error) if isinstance(error, httpx.TransportError) else ""
    reason = f"{type(error).__name__}: {said}" if said and "://" not in said else type(error).__name__
    return ConnectionFailed(f"no answer from {what} ({reason})", connected=not isinstance(error, _NEVER_CONNECTED))


def _rebuild(
    kind: type[ApiError], code: str, status: int, detail: str, errors: list[dict[str, object]], after_s: float | None
) -> ApiError:
    return kind(code, status=status, detail=detail, errors=errors, retry_after_s=after_s)


def _rebuild_connection(message: str, connected: bool) -> ConnectionFailed:
    return ConnectionFailed(message, connected=connected)
