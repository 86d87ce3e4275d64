"""Points in time as all documents of the service spell them: UTC, ISO 8601, to the millisecond."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema


def moment_text(moment: datetime) -> str:
    """Spell a moment, `2026-11-30T16:26:49.851Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    datetime,
    PlainSerializer(moment_text, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A field of a model that is read as pydantic reads times, and written as `moment_text` does."""
