"""The job: what a customer asks for, what it has become, and the legal moves between its statuses."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from darkroom.moments import Moment

UNIT_PRICE_USD = 0.04
"""Price of one requested image (WaveSpeed's model page); charged at submit."""


def usd(images: int) -> float:
    """Price of so many images in USD."""
    return round(images * UNIT_PRICE_USD, 2)


MIN_SIDE, MAX_SIDE = 1440, 4096
MIN_PIXELS, MAX_PIXELS = 2560 * 1440, 4096 * 4096


class JobStatus(StrEnum):
    """Where a job is, as its owner sees it."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    UNCONFIRMED = "unconfirmed"
    GENERATING = "generating"
    STORING = "storing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether only a retry can still change it."""
        return self in TERMINAL_STATUSES


TERMINAL_STATUSES = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED})

RESUMED = frozenset({JobStatus.QUEUED, JobStatus.UNCONFIRMED, JobStatus.GENERATING, JobStatus.STORING})
"""Where a retry may take a job: what goes on upstream, or is not settled, is taken up in the same attempt."""

LEGAL_MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset(
        {JobStatus.SUBMITTING, JobStatus.GENERATING, JobStatus.CANCELED, JobStatus.EXPIRED, JobStatus.FAILED}
    ),
    JobStatus.SUBMITTING: frozenset(
        {JobStatus.QUEUED, JobStatus.UNCONFIRMED, JobStatus.GENERATING, JobStatus.STORING}
        | {JobStatus.FAILED, JobStatus.CANCELED}
    ),
    JobStatus.UNCONFIRMED: frozenset(
        {JobStatus.QUEUED, JobStatus.GENERATING, JobStatus.STORING, JobStatus.FAILED, JobStatus.CANCELED}
    ),
    JobStatus.GENERATING: frozenset(
        {JobStatus.STORING, JobStatus.UNCONFIRMED, JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELED}
    ),
    JobStatus.STORING: frozenset({JobStatus.COMPLETED, JobStatus.UNCONFIRMED, JobStatus.FAILED, JobStatus.CANCELED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: RESUMED,
    JobStatus.CANCELED: RESUMED,
    JobStatus.EXPIRED: RESUMED,
}
"""From-status to the statuses a job may have next; the scripts are tested against it."""

Priority = Literal["low", "normal", "high"]

EventType = Literal["job.completed", "job.failed", "job.canceled", "job.expired", "job.outputs_late", "batch.completed"]
DEFAULT_EVENTS: tuple[EventType, ...] = ("job.completed", "job.failed", "job.canceled", "job.expired")

WebhookStatus = Literal["pending", "delivered", "exhausted", "gone"]

ErrorCode = Literal[
    "content_moderation",
    "invalid_request",
    "upstream_failed",
    "generation_timeout",
    "output_unavailable",
    "storage_failed",
    "submit_unconfirmed",
    "exceeds_account_limit",
    "exceeds_budget",
]


class Strict(BaseModel):
    """Base of what comes in: exact types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Webhook(Strict):
    """Where to tell about a job, and about which of its events."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)] = Field(
        description="https address that gets the events", examples=["https://example.com/hooks/darkroom"]
    )
    events: list[EventType] | None = Field(
        None, min_length=1, max_length=6, description="Event types wanted; null: all four terminal ones"
    )

    @property
    def wanted(self) -> tuple[EventType, ...]:
        """The types to deliver, the default filled in."""
        return tuple(dict.fromkeys(self.events)) if self.events else DEFAULT_EVENTS


MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class JobRequest(Strict):
    """What a customer asks for: one request of 1–15 consistent images."""

    prompt: Annotated[str, StringConstraints(min_length=1, max_length=10_000)] = Field(
        description="What to draw; name as many images in it as max_images says",
        examples=["A fox finds a lantern, a comic strip in four panels"],
    )
    size: str = Field(
        "2048*2048",
        description="Width*height in pixels, 1440-4096 a side, 2560*1440 to 4096*4096 pixels in all",
        examples=["2048*2048"],
    )
    max_images: int = Field(1, ge=1, le=15, description="Images to make; each costs 0.04 USD")
    enable_base64_output: bool = Field(False, description="Let upstream send the images as BASE64 text")
    enable_sync_mode: bool = Field(False, description="Let upstream hold the submit until the result exists")
    webhook: Webhook | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(
        default_factory=dict,
        description="Up to 16 pairs of your own, kept and given back",
        examples=[{"order": "1234"}],
    )
    priority: Priority = Field("normal", description="Order among your own waiting jobs")
    expires_in: int | None = Field(
        None,
        ge=1,
        le=5_184_000,
        description="Seconds the job may wait in the line, times in which every lane is paused apart; null: for ever",
    )
    custom_id: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        None, description="Your own name for it; unique within a batch", examples=["panel-17"]
    )

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank; say what to draw")
        return value

    @field_validator("webhook")
    @classmethod
    def _tells_of_jobs(cls, value: Webhook | None) -> Webhook | None:
        if value and value.events and set(value.events) == {"batch.completed"}:
            raise ValueError("its events name none of a job's; batch.completed is told of a batch")
        return value

    @field_validator("size")
    @classmethod
    def _normal_size(cls, value: str) -> str:
        width, star, height = value.replace("x", "*").partition("*")
        if not (star and _plain_number(width) and _plain_number(height)):
            raise ValueError("must be WIDTH*HEIGHT, such as 2048*2048")
        pixels = int(width) * int(height)
        if not (MIN_SIDE <= int(width) <= MAX_SIDE and MIN_SIDE <= int(height) <= MAX_SIDE):
            raise ValueError(f"each side must be {MIN_SIDE} to {MAX_SIDE} pixels")
        if not MIN_PIXELS <= pixels <= MAX_PIXELS:
            raise ValueError(f"must have {MIN_PIXELS} (2560*1440) to {MAX_PIXELS} (4096*4096) pixels in all")
        return f"{int(width)}*{int(height)}"


def _plain_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


class Output(BaseModel):
    """One stored image."""

    index: int
    bucket: str
    key: str
    url: str | None = None
    url_expires_at: Moment | None = None
    content_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    nsfw: bool | None = None


class LateOutput(Output):
    """An image of an attempt that had already been given up."""

    attempt: int


class Cost(BaseModel):
    """Money in USD: `estimated` for one attempt, `spent` over all of them."""

    currency: Literal["USD"] = "USD"
    unit_price: float = UNIT_PRICE_USD
    estimated: float
    spent: float
    images_requested: int
    images_delivered: int


class JobError(BaseModel):
    """Why a job failed. `upstream` holds what WaveSpeed said (never a secret or a signed URL)."""

    code: str
    message: str
    retryable: bool
    upstream: dict[str, Any] = Field(default_factory=dict)


class AttemptError(BaseModel):
    """Why an attempt yielded nothing."""

    code: str
    message: str


class JobAttempt(BaseModel):
    """One attempt of a job: one prediction that was asked for, and what it cost (`spent`, USD)."""

    attempt: int
    status: JobStatus
    prediction_id: str | None = None
    submits: int
    spent: float
    submitted_at: Moment | None = None
    finished_at: Moment | None = None
    error: AttemptError | None = None


class Timings(BaseModel):
    """Where the time went; a stage not reached yet is null."""

    queued_ms: int | None = None
    inference_ms: int | None = None
    polls: int = 0
    storing_ms: int | None = None
    total_ms: int | None = None


class Job(BaseModel):
    """A job as its owner sees it."""

    id: str
    object: Literal["job"] = "job"
    status: JobStatus
    request: JobRequest
    custom_id: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    batch_id: str | None = None
    priority: Priority = "normal"
    queue_position: int | None = None
    held: Literal["budget"] | None = Field(None, description="What keeps a waiting job from its turn")
    attempt: int = 1
    submits: int = 0
    prediction_id: str | None = None
    cancel_requested_at: Moment | None = None
    outputs: list[Output] = Field(default_factory=list)
    late_outputs: list[LateOutput] = Field(default_factory=list)
    attempts: list[JobAttempt] = Field(default_factory=list, description="The last 20, oldest first")
    webhook_status: WebhookStatus | None = Field(
        None, description="What became of the newest of its webhooks; null: none was wanted yet"
    )
    cost: Cost
    error: JobError | None = None
    timings: Timings = Field(default_factory=Timings)
    created_at: Moment
    submitted_at: Moment | None = None
    finished_at: Moment | None = None
    links: dict[str, str] = Field(default_factory=dict)
