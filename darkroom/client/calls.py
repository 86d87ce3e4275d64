"""Every call of the API as a value: what is sent, how its answer is read, and whether it may be sent twice.

Nothing here does I/O; both clients send these and nothing else.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from darkroom.batches import Batch, BatchRetry
from darkroom.client.answers import Answer, Page, read_model, read_object, read_page
from darkroom.jobs import Job, JobStatus, Webhook

T = TypeVar("T")
MOST_PAGE = 200
NDJSON = "application/x-ndjson"
KEEP_ALIVE_S = 15.0
"""How often the service says something on a job's events; a much longer silence is a dead connection."""

UPLOAD_ANSWER_S = 300.0
"""How long the answer to a whole batch may take after its last line."""

WebhookLike = Webhook | Mapping[str, Any] | str
"""A webhook, its fields, or just its URL."""

Query = tuple[tuple[str, str], ...]


class Body(Protocol):
    """A body that is made while it is sent."""

    @property
    def fresh(self) -> bool:
        """Whether it can be sent from its beginning."""

    def chunks(self) -> Iterator[bytes]:
        """Make it, from its beginning."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call. `path` is quoted; `longer_s` is added to the time that its answer may take."""

    method: str
    path: str
    read: Callable[[Answer], T] = field(repr=False)
    query: Query = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Body | None = field(default=None, repr=False)
    repeatable: bool = True
    longer_s: float = 0.0
    redirects: bool = False


def new_key() -> str:
    """Make an Idempotency-Key that nobody else makes."""
    return f"py-{secrets.token_hex(16)}"


def submit_job(webhook: WebhookLike | None, key: str | None, **fields: object) -> Call[Job]:
    """Post a job; what is None in `fields` is left to the service."""
    job = {name: value for name, value in fields.items() if value is not None}
    if webhook is not None:
        job["webhook"] = webhook_fields(webhook)
    headers = {"Idempotency-Key": key or new_key(), "Content-Type": "application/json"}
    return Call("POST", "/v1/jobs", read_job, headers=headers, body=json.dumps(job, default=dict).encode())


def read_one_job(job_id: str, wait_s: float = 0) -> Call[Job]:
    """Read a job, waiting at most `wait_s` (0–60) for its end."""
    query = (("wait", f"{wait_s:g}"),) if wait_s > 0 else ()
    return Call("GET", _path("jobs", job_id), read_job, query=query, longer_s=wait_s)


def cancel_job(job_id: str) -> Call[Job]:
    """Cancel a job; once more does no harm."""
    return Call("POST", _path("jobs", job_id, "cancel"), read_job)


def retry_job(job_id: str, *, fresh: bool) -> Call[Job]:
    """Retry a job; each may cost, so it is sent once."""
    query = (("fresh", "true"),) if fresh else ()
    return Call("POST", _path("jobs", job_id, "retry"), read_job, query=query, repeatable=False)


def output_address(job_id: str, index: int) -> Call[str]:
    """Ask where an output is; the answer is a signed URL."""
    path = _path("jobs", job_id, "outputs", str(index))
    return Call("GET", path, lambda answer: answer.headers["location"], redirects=True)


def follow_job(job_id: str, last_event_id: str | None) -> Call[None]:
    """Open a job's events, those after `last_event_id`."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    return Call("GET", _path("jobs", job_id, "events"), _nothing, headers=headers, longer_s=KEEP_ALIVE_S)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None means any. A time without a zone is UTC."""

    status: JobStatus | str | None = None
    batch_id: str | None = None
    custom_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_after: datetime | str | None = None
    created_before: datetime | str | None = None

    def query(self) -> Query:
        """Write it as the API's parameters."""
        named = {
            "status": self.status,
            "batch_id": self.batch_id,
            "custom_id": self.custom_id,
            "created_after": _time(self.created_after),
            "created_before": _time(self.created_before),
        }
        given = [(name, str(value)) for name, value in named.items() if value is not None]
        return (*given, *((f"metadata.{key}", value) for key, value in self.metadata.items()))


def list_jobs(wanted: JobFilter, cursor: str | None, most: int) -> Call[Page[Job]]:
    """List one page of at most `most` jobs (1–200), newest first."""
    query = (*wanted.query(), *_paging(cursor, most))
    return Call("GET", "/v1/jobs", lambda answer: read_page(answer.body, Job), query=query)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What goes for all jobs of a batch; None is left to the service."""

    webhook: WebhookLike | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    priority: str | None = None
    expires_in: int | None = None
    on_invalid: str = "refuse"

    def query(self) -> Query:
        """Write them as the API's parameters."""
        hook = webhook_fields(self.webhook) if self.webhook is not None else {}
        named = {
            "webhook_url": hook.get("url"),
            "priority": self.priority,
            "expires_in": self.expires_in,
            "on_invalid": self.on_invalid if self.on_invalid != "refuse" else None,
        }
        given = [(name, str(value)) for name, value in named.items() if value is not None]
        events = [("webhook_events", str(event)) for event in hook.get("events") or ()]
        return (*given, *events, *((f"metadata.{key}", value) for key, value in self.metadata.items()))


def submit_batch(body: Body, options: BatchOptions, key: str | None) -> Call[Batch]:
    """Post a batch, its lines made while they are sent."""
    headers = {"Idempotency-Key": key or new_key(), "Content-Type": NDJSON}
    return Call(
        "POST", "/v1/batches", read_batch, query=options.query(), headers=headers, body=body, longer_s=UPLOAD_ANSWER_S
    )


def read_one_batch(batch_id: str) -> Call[Batch]:
    """Read a batch."""
    return Call("GET", _path("batches", batch_id), read_batch)


def list_batches(cursor: str | None, most: int) -> Call[Page[Batch]]:
    """List one page of at most `most` batches (1–200), newest first."""
    return Call("GET", "/v1/batches", lambda answer: read_page(answer.body, Batch), query=_paging(cursor, most))


def batch_results(batch_id: str, after: int) -> Call[None]:
    """Open the results of the lines after `after`."""
    query = (("after", str(after)),) if after else ()
    return Call("GET", _path("batches", batch_id, "results"), _nothing, query=query, headers={"Accept": NDJSON})


def cancel_batch(batch_id: str) -> Call[Batch]:
    """Cancel a batch; once more does no harm."""
    return Call("POST", _path("batches", batch_id, "cancel"), read_batch)


def retry_batch(batch_id: str, include: Iterable[str]) -> Call[BatchRetry]:
    """Retry what failed of a batch; each may cost, so it is sent once."""
    codes = ",".join(include)
    query = (("include", codes),) if codes else ()
    path = _path("batches", batch_id, "retry")
    return Call("POST", path, lambda answer: read_model(answer.body, BatchRetry), query=query, repeatable=False)


def usage() -> Call[dict[str, Any]]:
    """Read what was used, day by day."""
    return Call("GET", "/v1/usage", _object)


def status() -> Call[dict[str, Any]]:
    """Read the line, the lanes and the workers."""
    return Call("GET", "/v1/status", _object)


def webhook_fields(webhook: WebhookLike) -> dict[str, Any]:
    """Write a webhook as the API wants it."""
    if isinstance(webhook, str):
        return {"url": webhook}
    return webhook.model_dump(exclude_none=True) if isinstance(webhook, Webhook) else dict(webhook)


def read_job(answer: Answer) -> Job:
    """Read a job."""
    return read_model(answer.body, Job)


def read_batch(answer: Answer) -> Batch:
    """Read a batch."""
    return read_model(answer.body, Batch)


def _object(answer: Answer) -> dict[str, Any]:
    return read_object(answer.body)


def _nothing(_: Answer) -> None:
    return None


def _path(*parts: str) -> str:
    if any(not part.strip(".") for part in parts):
        raise ValueError("an id is empty")  # it would name another address
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def _paging(cursor: str | None, most: int) -> Query:
    limit = ("limit", str(min(most, MOST_PAGE)))
    return (limit, ("cursor", cursor)) if cursor else (limit,)


def _time(moment: datetime | str | None) -> str | None:
    if not isinstance(moment, datetime):
        return moment
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
