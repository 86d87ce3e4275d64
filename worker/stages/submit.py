"""Submit: write the intent down, POST once, settle what came of it.

The one place where money is spent. Nothing here repeats a POST: an answer that was lost leaves the job `unconfirmed`.
"""

import asyncio
import secrets

from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from darkroom.checkpoints import Checkpoint, reach
from darkroom.jobs import JobError
from darkroom.store.attempts import Intent, Moved, Ticket
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.outcomes import (
    Accepted,
    NeverLeft,
    NotNow,
    NotNowReason,
    Refused,
    Submission,
    SubmitOutcome,
    Unknown,
    UpstreamError,
)
from darkroom.upstream.session import CONNECT_TIMEOUT_S, steady_s
from worker.context import Context

LEASE_MARGIN_S = 10.0
"""How much longer than the POST may take its lease lasts."""

LATEST_START_S = 5.0
"""How long after the intent the POST may still be started, and, past the time for connecting, be written; half of the
margin."""

BEGIN_FOR_S = 60.0
"""How long an intent whose answer was lost is asked after: if it is found then, the job goes back unsent at once."""

RECORD_FOR_S = 3600.0
"""How long an answer is held and offered to a Redis that is away: it may name a paid prediction."""

RATE_WAIT_S = 2.0

REFUSALS_ALONE = 3
"""How often in a row a job heavier than the whole minute's rate may be refused although nothing else was sent."""

HELD_UP = NeverLeft("the worker was held up before it could send", held_up=True)
