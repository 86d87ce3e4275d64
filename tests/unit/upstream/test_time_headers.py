"""`Retry-After` and `Date`, in good and bad shape."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from darkroom.upstream.headers import MAX_RETRY_AFTER_S, parse_date, retry_after_s

NOW = datetime(2026, 5, 19, 6, 0, tzinfo=UTC)


def http_date(offset_s: float) -> str:
    return format_datetime(NOW + timedelta(seconds=offset_s), usegmt=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("17", 17.0),
        ("1.5", 1.5),
        ("999999999", MAX_RETRY_AFTER_S),
        (http_date(42), 42.0),
        (http_date(-42), 0.0),
        (http_date(86400), MAX_RETRY_AFTER_S),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("Tue, 99 May 2026 06:00:00 GMT", None),
        ("Tue, 19 May 99999 06:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_a_date_by_upstreams_clock_or_nothing(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, server_date=NOW) == expected


def test_a_date_without_a_zone_is_utc() -> None:
    assert parse_date("Tue, 19 May 2026 06:00:00 -0000") == NOW
