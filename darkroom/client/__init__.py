"""The Python client: `Client`, `AsyncClient` and `verify_webhook`. Needs httpx, pydantic and standardwebhooks only."""

from darkroom.batches import Batch, BatchCounts, BatchResult, BatchRetry, BatchStatus
from darkroom.client.aio import AsyncClient
from darkroom.client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    ConnectionFailed,
    DownloadFailed,
    Forbidden,
    Invalid,
    NotFinished,
    NotFound,
    RateLimited,
    ServerFailed,
    Unauthorized,
    Unavailable,
    UnreadableAnswer,
    WaitTimeout,
    WebhookRefused,
)
from darkroom.client.feeds import StatusChange
from darkroom.client.sync import Client
from darkroom.client.webhook import WebhookEvent, verify_webhook
from darkroom.errors import ConfigurationError, DarkroomError
from darkroom.jobs import Job, JobRequest, JobStatus, Output, Webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Batch",
    "BatchCounts",
    "BatchResult",
    "BatchRetry",
    "BatchStatus",
    "Client",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "DarkroomError",
    "DownloadFailed",
    "Forbidden",
    "Invalid",
    "Job",
    "JobRequest",
    "JobStatus",
    "NotFinished",
    "NotFound",
    "Output",
    "RateLimited",
    "ServerFailed",
    "StatusChange",
    "Unauthorized",
    "Unavailable",
    "UnreadableAnswer",
    "WaitTimeout",
    "Webhook",
    "WebhookEvent",
    "WebhookRefused",
    "verify_webhook",
]
