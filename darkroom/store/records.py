"""A job as the store keeps it, and how the scripts' flat replies become records."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

SCHEMA_VERSION = 1
"""Version of records, scripts and messages; a release reads its own and the one before."""


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """Turn the flat reply of HGETALL inside a script into a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job's record with its current attempt's and its place in its flow.

    `late` holds the attempts that yielded late outputs, `earlier` what tells of those before the current one; `held`
    says what keeps a waiting job where it is (None: nothing but the line itself).
    """

    job_id: str
    job: dict[str, str]
    attempt: dict[str, str]
    place: int = 0
    late: dict[int, dict[str, str]] = field(default_factory=dict)
    earlier: dict[int, dict[str, str]] = field(default_factory=dict)
    held: str | None = None

    @property
    def tenant(self) -> str:
        """Who owns the job."""
        return self.job["tenant"]

    @property
    def status(self) -> str:
        """The job's public status."""
        return self.job["status"]

    @property
    def attempt_number(self) -> int:
        """Number of the current attempt, from 1."""
        return int(self.job["attempt"])

    @property
    def attempts(self) -> dict[int, dict[str, str]]:
        """The attempts by number, the latest of them: the current one whole, of others what tells of them."""
        return self.earlier | {self.attempt_number: self.attempt}

    @property
    def request(self) -> dict[str, Any]:
        """The request without the fields that were left at their defaults."""
        request: dict[str, Any] = orjson.loads(self.job["request"])
        return request

    @classmethod
    def from_reply(cls, job_id: str, reply: Sequence[Any]) -> "JobRecord | None":
        """Read the reply of `read_job.lua`; None when there is no such job."""
        if not reply:
            return None
        job, attempt, place, held, late, earlier = reply
        return cls(
            job_id,
            pairs(job),
            pairs(attempt),
            int(place),
            late={int(number): pairs(record) for number, record in late},
            earlier={int(number): pairs(record) for number, record in earlier},
            held=held or None,
        )

    @classmethod
    def from_snapshot(cls, job_id: str, text: str) -> "JobRecord":
        """Read what an event remembers of its job; cjson writes what is empty as an object."""
        raw = orjson.loads(text)
        late, earlier = (
            {int(number): pairs(record or []) for number, record in raw.get(name) or []} for name in ("late", "earlier")
        )
        return cls(job_id, pairs(raw["job"] or []), pairs(raw["attempt"] or []), late=late, earlier=earlier)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One entry of a job's history; `event_id` is attempt and sequence."""

    event_id: str
    status: str
    at_ms: int

    @property
    def attempt(self) -> int:
        """The attempt that it happened in."""
        return int(self.event_id.partition("-")[0])

    @property
    def sequence(self) -> int:
        """Its number within the job, from 1."""
        return int(self.event_id.partition("-")[2])


def status_changes(job: dict[str, str]) -> list[StatusChange]:
    """Read a job's history, oldest first; the oldest entries of a long one are gone."""
    changes = []
    for entry in job.get("events", "").split(";"):
        if entry:
            event_id, status, at_ms = entry.split(",")
            changes.append(StatusChange(event_id, status, int(at_ms)))
    return changes
