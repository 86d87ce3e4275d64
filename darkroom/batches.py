"""The batch as its owner sees it: many jobs posted at once, counted together and read in the order they came in."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from darkroom.jobs import Cost, Job, Webhook, WebhookStatus
from darkroom.moments import Moment


class BatchStatus(StrEnum):
    """Where a batch is."""

    ACCEPTING = "accepting"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """Whether only a retry can still change it."""
        return self in (BatchStatus.COMPLETED, BatchStatus.CANCELED)


class BatchCounts(BaseModel):
    """How many of its jobs are in each status."""

    queued: int = 0
    submitting: int = 0
    unconfirmed: int = 0
    generating: int = 0
    storing: int = 0
    completed: int = 0
    failed: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def finished(self) -> int:
        """Jobs in a terminal status."""
        return self.completed + self.failed + self.canceled + self.expired


class LineProblem(BaseModel):
    """One wrong field of one line; lines count from 1."""

    loc: list[str | int] = Field(examples=[["line", 17, "max_images"]])
    msg: str = Field(examples=["must be 15 or less"])


class BatchSkipped(BaseModel):
    """Lines that were left out because they are wrong (`on_invalid=skip`)."""

    lines: int = Field(description="How many lines were left out")
    errors: list[LineProblem] = Field(default_factory=list, description="What is wrong with them; 100 at most")


class BatchManifest(BaseModel):
    """Where the finished batch explains itself in the bucket."""

    bucket: str
    batch_key: str = Field(description="The batch as JSON", examples=["2026/11/26/batch_01J…/batch.json"])
    results_key: str = Field(
        description="A line per job, in input order, keys instead of URLs",
        examples=["2026/11/26/batch_01J…/results.ndjson"],
    )


class Batch(BaseModel):
    """A batch as its owner sees it."""

    id: str
    object: Literal["batch"] = "batch"
    status: BatchStatus
    total: int = Field(description="Jobs taken")
    counts: BatchCounts = Field(default_factory=BatchCounts)
    cost: Cost
    metadata: dict[str, str] = Field(default_factory=dict)
    webhook: Webhook | None = None
    webhook_status: WebhookStatus | None = Field(None, description="What became of the webhook that tells of its end")
    held: Literal["budget"] | None = Field(None, description="What keeps its waiting jobs from their turn")
    skipped: BatchSkipped | None = None
    estimated_seconds_left: int | None = None
    manifest: BatchManifest | None = None
    created_at: Moment
    accepted_at: Moment | None = None
    cancel_requested_at: Moment | None = None
    finished_at: Moment | None = None
    links: dict[str, str] = Field(default_factory=dict)


class BatchResult(BaseModel):
    """One finished job of a batch and the line it came in on (from 1, blank lines counted)."""

    line: int
    custom_id: str | None = None
    job: Job


class Retried(BaseModel):
    """Jobs that go on."""

    resumed: int = Field(description="Taken up again where upstream still has them, at no cost")
    new_attempts: int = Field(description="Asked for anew, which costs again")


class RetryCost(BaseModel):
    """What a retry will cost at most."""

    currency: Literal["USD"] = "USD"
    estimated: float


class BatchRetry(BaseModel):
    """What the retry of a batch set going, what it left alone by error code, and what it costs."""

    batch: Batch
    retried: Retried
    not_retried: dict[str, int] = Field(default_factory=dict)
    cost: RetryCost
