"""The query of a listing: every filter checked, so that a typo never silently returns everything."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from api.answers import BATCH_ID, JOB_ID
from api.auth import Caller
from api.moments import moment_ms
from api.problems import invalid
from api.validation import FieldError, unknown_name
from darkroom.jobs import JobStatus
from darkroom.store.listing import JobFilter

DEFAULT_LIMIT = 50
MOST_LIMIT = 200
_METADATA = "metadata."
_LATEST_MS = 2**48 - 1
"""The last time that an id can hold."""


@dataclass(slots=True)
class Listing:
    """A page that is asked for."""

    wanted: JobFilter
    limit: int
    cursor: str | None


def parse_listing(query: Iterable[tuple[str, str]], caller: Caller) -> Listing:
    """Read the query's parameters.

    Raises:
        Problem: `validation_error` naming every wrong parameter.
    """
    known = _PARSERS | (_OPERATORS_PARSERS if caller.admin else {})
    read = _Read()
    for name, value in query:
        if name.startswith(_METADATA) and len(name) > len(_METADATA):
            read.note(name, value, read.metadata, name.removeprefix(_METADATA), str)
        elif name in known:
            read.note(name, value, read.values, name, known[name])
        else:
            read.errors.append(FieldError(("query", name[:80]), unknown_name(name, [*known, "metadata.KEY"])))
    if read.errors:
        raise invalid(read.errors)
    values = read.values
    wanted = JobFilter(
        tenant=values.get("tenant") if caller.admin else caller.tenant,
        status=values.get("status"),
        batch_id=values.get("batch_id"),
        custom_id=values.get("custom_id"),
        metadata=read.metadata,
        created_after_ms=values.get("created_after"),
        created_before_ms=values.get("created_before"),
    )
    return Listing(wanted, values.get("limit", DEFAULT_LIMIT), values.get("cursor"))


@dataclass(slots=True)
class _Read:
    values: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    errors: list[FieldError] = field(default_factory=list)

    def note(self, name: str, value: str, into: dict[str, Any], key: str, parse: Callable[[str], Any]) -> None:
        """Parse one parameter, once."""
        if key in into:
            self.errors.append(FieldError(("query", name[:80]), "must be given once"))
            return
        try:
            into[key] = parse(value)
        except ValueError as error:
            self.errors.append(FieldError(("query", name[:80]), str(error)))


def _status(value: str) -> str:
    names = [status.value for status in JobStatus]
    if value not in names:
        raise ValueError(f"must be one of {', '.join(names)}")
    return value


def _time_ms(value: str) -> int:
    return min(moment_ms(value), _LATEST_MS)


def _limit(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 4 and 1 <= int(value) <= MOST_LIMIT):
        raise ValueError(f"must be a whole number from 1 to {MOST_LIMIT}")
    return int(value)


def _cursor(value: str) -> str:
    if not JOB_ID.fullmatch(value):
        raise ValueError("must be the next_cursor of a page before")
    return value


def _named(value: str) -> str:
    if not value:
        raise ValueError("must not be empty; leave it out instead")
    return value


def _batch_id(value: str) -> str:
    if not BATCH_ID.fullmatch(value):
        raise ValueError("must be a batch's id, batch_…")
    return value


_PARSERS: dict[str, Callable[[str], Any]] = {
    "status": _status,
    "batch_id": _batch_id,
    "custom_id": _named,
    "created_after": _time_ms,
    "created_before": _time_ms,
    "limit": _limit,
    "cursor": _cursor,
}
_OPERATORS_PARSERS: dict[str, Callable[[str], Any]] = {"tenant": _named}


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
LISTING_PARAMETERS = [
    _parameter("status", "Only jobs in this status.", {"type": "string", "enum": [item.value for item in JobStatus]}),
    _parameter("batch_id", "Only jobs of this batch.", _TEXT),
    _parameter("custom_id", "Only jobs with this custom id.", _TEXT),
    _parameter("metadata.KEY", "Only jobs with this value under KEY; any number of them.", _TEXT),
    _parameter("created_after", "Made at this time or later.", _TIME),
    _parameter("created_before", "Made before this time.", _TIME),
    _parameter("limit", "Most jobs of a page.", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
    _parameter("cursor", "The `next_cursor` of the page before.", _TEXT),
    _parameter("tenant", "Operators: only jobs of this tenant.", _TEXT),
]
"""The parameters for the OpenAPI document."""
