"""The two headers that carry a time."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

MAX_RETRY_AFTER_S = 300.0
"""Limits reset every minute (WaveSpeed's rate-limit page); a longer wait than this is not believed."""

_SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]+)?")


@lru_cache(maxsize=16)
def parse_date(value: str | None) -> datetime | None:
    """Read an HTTP date; None if there is none or it can't be read. Cached: upstream's `Date` changes once a second."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def retry_after_s(value: str | None, *, server_date: datetime | None) -> float | None:
    """Read `Retry-After` (RFC 9110 10.2.3), seconds or a date, as seconds from now; None if it can't be read.

    A date is held against upstream's own clock where that is known.
    """
    if not value:
        return None
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER_S)
    moment = parse_date(value)
    if moment is None:
        return None
    seconds = (moment - (server_date or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
