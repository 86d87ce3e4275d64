"""The simulated upstream's clock: it can be ahead or behind, and it prints the time as the vendor does."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

NANOSECONDS = 1_000_000_000


class Clock:
    """Wall time with an offset for everything that upstream says; monotonic time for windows and timers."""

    def __init__(self, offset_s: Callable[[], float] = lambda: 0.0) -> None:
        self._offset_s = offset_s

    def now_ns(self) -> int:
        """Return upstream's wall time in nanoseconds since the epoch."""
        return time.time_ns() + int(self._offset_s() * NANOSECONDS)

    def now(self) -> float:
        """Return upstream's wall time in seconds since the epoch."""
        return self.now_ns() / NANOSECONDS

    def http_date(self, in_s: float = 0.0) -> str:
        """Return upstream's time, or one `in_s` later, as an HTTP date."""
        return formatdate(self.now() + in_s, usegmt=True)

    @property
    def is_shifted(self) -> bool:
        """Whether upstream's wall time differs from this machine's."""
        return self._offset_s() != 0.0


def iso_nanoseconds(when_ns: int) -> str:
    """Format like `2026-05-19T06:09:15.948268264Z`."""
    seconds, nanoseconds = divmod(when_ns, NANOSECONDS)
    whole = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def parse_iso_ns(text: str) -> int:
    """Read an ISO 8601 time with up to nine decimals as nanoseconds; without a zone it is UTC.

    Raises `ValueError` if it is none.
    """
    head, dot, rest = text.strip().partition(".")
    decimals = ""
    if dot:
        decimals = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        if not decimals:
            raise ValueError(f"not an ISO 8601 time: {text!r}")
        head += rest[len(decimals) :]
    when = datetime.fromisoformat(head.replace("Z", "+00:00"))
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp()) * NANOSECONDS + int(decimals[:9].ljust(9, "0") or 0)
