"""What the OpenAPI document says beyond the job's own models: pages, problems, examples."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from darkroom.batches import Batch
from darkroom.jobs import Job, WebhookStatus


class JobPage(BaseModel):
    """One page of jobs, newest first."""

    data: list[Job]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null: that was all.")


class BatchPage(BaseModel):
    """One page of batches, newest first."""

    data: list[Batch]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null: that was all.")


class FieldProblem(BaseModel):
    """One wrong field."""

    loc: list[str | int] = Field(examples=[["body", "max_images"]])
    msg: str = Field(examples=["must be 15 or less"])


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(examples=["urn:darkroom:problem:validation_error"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["body.max_images: must be 15 or less"])
    code: str = Field(examples=["validation_error"])
    errors: list[FieldProblem] | None = None


class DeliveryAttempt(BaseModel):
    """One attempt at telling."""

    at: str
    status_code: int | None
    duration_ms: int | None
    error: str | None
    response: str = Field(description="How the receiver's answer began, 1,000 characters at most")
    next_attempt_at: str | None = Field(description="When it was to be tried again, as was said then")


class Delivery(BaseModel):
    """One event on its way to one address."""

    id: str
    event_id: str
    type: str
    url: str
    job_id: str | None = Field(description="The job that it tells of; null: it tells of a batch")
    batch_id: str | None = None
    status: WebhookStatus
    attempts: list[DeliveryAttempt]
    next_attempt_at: str | None


class DeliveryList(BaseModel):
    """A job's deliveries, oldest first."""

    data: list[Delivery]


class Undelivered(Delivery):
    """A delivery that reached nobody."""

    tenant: str | None = Field(None, description="Whose; for operators only")


class UndeliveredPage(BaseModel):
    """Deliveries that reached nobody, those that ended first being first."""

    data: list[Undelivered]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null: that was all.")


class Recovered(BaseModel):
    """What a recovery did."""

    recovered: int = Field(description="Deliveries that are sent again")


class NewWebhookSecret(BaseModel):
    """A secret just made, told this once."""

    id: str = Field(examples=["sec_01J…"])
    secret: str = Field(examples=["whsec_…"])
    created_at: str
    expires_at: str | None


class WebhookSecret(BaseModel):
    """A secret that signs."""

    id: str
    hint: str = Field(description="Its last four characters", examples=["whsec_…Q2w="])
    created_at: str
    expires_at: str | None = Field(description="Until when it signs; null: until it is replaced or revoked")


class WebhookSecretList(BaseModel):
    """What signs a tenant's webhooks, newest first."""

    data: list[WebhookSecret]
    operator_secret_until: str | None = Field(
        description="Until when the operator's secret signs too; null: not, or always where there is no other"
    )


class WebhookHost(BaseModel):
    """A receiver's host that fails for a tenant, or that the tenant's deliveries wait for."""

    host: str = Field(examples=["hooks.example.com"])
    tenant: str
    breaker: Literal["closed", "open", "half_open"] = Field(
        description="`open`: it fails, nothing is sent until the next probe; `half_open`: the probe is under way"
    )
    failing_since: str | None
    next_probe_at: str | None
    attempts_under_way: int
    deliveries_waiting: int


class WebhookHosts(BaseModel):
    """Hosts by name."""

    data: list[WebhookHost]


class UsageCounts(BaseModel):
    """Jobs, images and money."""

    jobs: int
    images_requested: int
    images_delivered: int
    spent_usd: float
    refundable_usd: float = Field(description="Of that: what upstream failed after accepting it, and pays back")
    completed: int
    failed: int
    canceled: int
    expired: int


class UsageDay(UsageCounts):
    """One UTC day."""

    date: str = Field(examples=["2026-11-22"])


class Usage(BaseModel):
    """What was asked for, delivered and spent, day by day."""

    currency: Literal["USD"] = "USD"
    data: list[UsageDay]
    total: UsageCounts
    budget_usd: float | None = Field(description="The tenant's budget of today; null: none, or several tenants")
    budget_left_usd: float | None = Field(description="What may still be admitted today")


_TITLES = {
    400: "The request can't be read",
    401: "No valid API key",
    403: "Operators only",
    404: "Not found",
    408: "The upload stalled",
    409: "The state does not allow it",
    413: "Too large",
    415: "Not JSON",
    422: "Not valid",
    429: "Too many jobs are waiting, or today's budget is spent",
    503: "Not available just now; `Retry-After` says when to try again",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the errors of a route."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {
        status: {"description": _TITLES[status], "content": {"application/problem+json": {"schema": schema}}}
        for status in statuses
    }


ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Accepted and durable",
        "headers": {
            "Location": {"description": "The job's address", "schema": {"type": "string"}},
            "Idempotent-Replayed": {"description": "`true`: an earlier call's job", "schema": {"type": "string"}},
        },
    }
}

ACCEPTED_BATCH: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Accepted and durable, all of it",
        "headers": {
            "Location": {"description": "The batch's address", "schema": {"type": "string"}},
            "Idempotent-Replayed": {"description": "`true`: an earlier call's batch", "schema": {"type": "string"}},
        },
    }
}

RESULTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A line for each job that has ended, in the order of the upload",
        "content": {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/BatchResult"}}},
    }
}

OPEN: dict[str, Any] = {"security": []}
"""For routes that need no key."""

_EXAMPLES = {
    "smallest": {"summary": "Only a prompt", "value": {"prompt": "A fox finds a lantern in the snow"}},
    "comic": {
        "summary": "Four consistent panels, told by webhook",
        "value": {
            "prompt": "A comic strip in four panels: a fox finds a lantern",
            "size": "2048*2048",
            "max_images": 4,
            "webhook": {"url": "https://example.com/hooks/darkroom", "events": ["job.completed", "job.failed"]},
            "metadata": {"order": "1234"},
            "priority": "high",
            "expires_in": 3600,
            "custom_id": "panel-17",
        },
    },
}

POST_JOB: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobRequest"}, "examples": _EXAMPLES}},
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same key with the same body gives the first job again, for at least 24 hours.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }
    ],
}


_BATCH_LINE = '{"prompt": "A fox finds a lantern in the snow", "custom_id": "panel-1"}\n'
_BATCH_QUERY = {
    "webhook_url": ("Told of the batch's end", {"type": "string"}),
    "webhook_events": ("Comma-separated; those of its jobs too where they are named", {"type": "string"}),
    "priority": ("Of jobs that name none", {"type": "string", "enum": ["low", "normal", "high"]}),
    "expires_in": ("Seconds, of jobs that name none", {"type": "integer", "minimum": 1, "maximum": 5_184_000}),
    "metadata.KEY": ("A pair of your own, kept with the batch", {"type": "string"}),
}

POST_BATCH: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {"$ref": "#/components/schemas/JobRequest"},
                "examples": {
                    "lines": {"summary": "A job request a line, 50,000 and 200 MB at most", "value": _BATCH_LINE}
                },
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/JsonBatch"}},
        },
    },
    "parameters": [
        *POST_JOB["parameters"],
        {
            "name": "on_invalid",
            "in": "query",
            "required": False,
            "description": "`refuse`: one bad line refuses all; `skip`: the good ones are taken",
            "schema": {"type": "string", "enum": ["refuse", "skip"], "default": "refuse"},
        },
        *(
            {"name": name, "in": "query", "required": False, "description": f"NDJSON: {text}", "schema": schema}
            for name, (text, schema) in _BATCH_QUERY.items()
        ),
    ],
}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Document the JSON body of a route that reads it by itself; the model holds no other models."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


OF_TENANT: dict[str, Any] = {
    "parameters": [
        {
            "name": "tenant",
            "in": "query",
            "required": False,
            "description": "Operators: whose; required with their key.",
            "schema": {"type": "string"},
        }
    ]
}

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Status changes until the terminal one; comments keep the connection alive",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": "id: 1-2\nevent: job.status\ndata: "
                '{"job_id":"job_…","status":"submitting","at":"2026-11-22T17:00:00.000Z","attempt":1}\n\n',
            }
        },
    },
    204: {"description": "Nothing came after `Last-Event-ID` and nothing will"},
}

LAST_EVENT_ID: dict[str, Any] = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "Only what came after this event.",
    "schema": {"type": "string"},
}
