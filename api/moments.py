"""Times that callers write: ISO 8601, UTC where they name no zone."""

from datetime import UTC, datetime

LATEST_MS = 253_402_300_799_000
"""The last second of the year 9999, the last that can be written."""


def moment_ms(text: str) -> int:
    """Read a time; gives milliseconds since 1970, never less than 0.

    A `+` that became a blank in a query is taken for what it was.

    Raises:
        ValueError: it is none.
    """
    try:
        if text[:4].isdigit() and text[4:5] == "-":
            moment = datetime.fromisoformat(f"{text[:19]}{text[19:].replace(' ', '+')}")
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return min(max(0, int(aware.timestamp() * 1000)), LATEST_MS)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time such as 2026-11-22T17:00:00Z")
