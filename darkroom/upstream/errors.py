"""What the calls raise that have no outcome value: list, balance, price, billings, delete, secret."""

from darkroom.errors import DarkroomError, RetryableError


class UpstreamUnavailableError(RetryableError):
    """No usable answer came; nothing was spent. `status` is the HTTP status, None if none came."""

    def __init__(
        self, message: str, *, delay_s: float = 1.0, status: int | None = None, is_passing: bool = True
    ) -> None:
        super().__init__(message, delay_s=delay_s)
        self.status = status
        self.is_passing = is_passing


class UnauthorizedError(DarkroomError):
    """Upstream does not accept the key (401), or not for this call (403)."""

    def __init__(self, message: str, *, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class SpoolError(RetryableError):
    """An output could not be written to the spool folder: this machine's trouble, not upstream's."""


class InvalidCallbackError(DarkroomError):
    """A callback is not upstream's, or is too old, or can't be read."""
