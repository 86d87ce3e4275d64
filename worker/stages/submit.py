"""Submit: write the intent down, POST once, settle what came of it.

The one place where money is spent. Nothing here repeats a POST: an answer that was lost leaves the job `unconfirmed`.
"""

import asyncio
import secrets

from redis.exceptions import RedisError
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_delay,
    wait_exponential_jitter,
)

from darkroom.checkpoints import Checkpoint, reach
from darkroom.store.attempts import Intent, Moved, Ticket
from darkroom.store.scripts import NotAcknowledgedError
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.outcomes import (
    Accepted,
    CallbackRefused,
    NeverLeft,
    NotNow,
    Refused,
    Submission,
    SubmitOutcome,
    Unknown,
)
from darkroom.upstream.session import CONNECT_TIMEOUT_S, steady_s
from worker.context import SUBMITS_AT_ONCE, Context
from worker.mishaps import note_mishap
from worker.stages.refusals import job_error, settle_refusal

LEASE_MARGIN_S = 10.0
"""How much longer than the POST may take its lease lasts."""

LATEST_START_S = 5.0
"""How long after the intent the POST may still be started, and, past the time for connecting, be written; half of the
margin."""

BEGIN_FOR_S = 60.0
"""How long an intent whose answer was lost is asked after: if it is found then, the job goes back unsent at once."""

RECORD_FOR_S = 3600.0
"""How long an answer is held and offered to a Redis that is away: it may name a paid prediction."""

HELD_UP = NeverLeft("the worker was held up before it could send", held_up=True)
log = get_logger(__name__)


async def submit_chunk(ctx: Context, tickets: list[Ticket]) -> None:
    """Send each of these admitted jobs, independently of each other."""
    results = await asyncio.gather(*(submit(ctx, ticket) for ticket in tickets), return_exceptions=True)
    for ticket, result in zip(tickets, results, strict=True):
        if isinstance(result, BaseException):
            note_mishap(log, "submit", result, job_id=ticket.job_id, attempt=ticket.attempt)


async def submit(ctx: Context, ticket: Ticket) -> None:
    """Send one admitted job, if its ticket is still good; past what this process may have open it is handed back.

    A job in sync mode holds its POST for as long as it takes; one that waited for a connection would look like an
    upstream that can't be reached.
    """
    if ctx.submits >= SUBMITS_AT_ONCE:
        await ctx.attempts.unadmit([ticket])
        log.debug("submit.handed_back", job_id=ticket.job_id, attempt=ticket.attempt)
        return
    ctx.submits += 1
    try:
        await _submit(ctx, ticket)
    finally:
        ctx.submits -= 1


async def _submit(ctx: Context, ticket: Ticket) -> None:
    asked_at, mark = steady_s(), secrets.token_hex(8)
    callback_key = await ctx.callbacks.key()
    reach(Checkpoint.SUBMIT_BEFORE_INTENT, ticket)
    try:
        async for attempt in _patiently(BEGIN_FOR_S, but_not=NotAcknowledgedError):
            with attempt:
                intent = await ctx.attempts.begin_submit(
                    ticket,
                    lease_ms=_lease_ms(ctx, sync=False),
                    sync_lease_ms=_lease_ms(ctx, sync=True),
                    key=ctx.upstream.key_fingerprint,
                    mark=mark,
                    calls_back=callback_key is not None,
                )
    except NotAcknowledgedError as error:
        moved = await ctx.attempts.returned(ticket, "never_left")
        log.error("submit.not_acknowledged", job_id=ticket.job_id, why=str(error), moved=moved.name)
        return
    if intent is None:
        return
    reach(Checkpoint.SUBMIT_INTENT, ticket)
    callback_url = None
    if intent.callback and callback_key is not None:
        callback_url = ctx.callbacks.url(ticket, send=intent.send, key=callback_key)
    outcome = await _post(ctx, intent, asked_at, callback_url)
    reach(Checkpoint.SUBMIT_ANSWERED, ticket, type(outcome).__name__)
    try:
        async for attempt in _patiently(RECORD_FOR_S):
            with attempt:
                await _settle(ctx, ticket, intent, outcome)
        reach(Checkpoint.SUBMIT_RECORDED, ticket)
    except BaseException:
        prediction_id = outcome.prediction.id if isinstance(outcome, Accepted) else None
        log.critical(
            "submit.unrecorded",
            job_id=ticket.job_id,
            attempt=ticket.attempt,
            outcome=type(outcome).__name__,
            prediction_id=prediction_id,
        )
        raise


def _patiently(stop_after_s: float, *, but_not: type[RedisError] | tuple[()] = ()) -> AsyncRetrying:
    """Repeat a call to the store whatever it answers: away, loading, read-only, without disk space."""
    return AsyncRetrying(
        retry=retry_if_exception_type(RedisError) & retry_if_not_exception_type(but_not),
        wait=wait_exponential_jitter(initial=0.2, max=5),
        stop=stop_after_delay(stop_after_s),
        reraise=True,
    )


async def _post(ctx: Context, intent: Intent, asked_at: float, callback_url: str | None) -> SubmitOutcome:
    start_until_s = asked_at + LATEST_START_S
    if steady_s() > start_until_s:
        return HELD_UP
    return await ctx.upstream.submit(
        submission_of(intent), callback_url=callback_url, until_s=start_until_s + CONNECT_TIMEOUT_S
    )


def submission_of(intent: Intent) -> Submission:
    """Give what upstream is asked for."""
    request = intent.request
    return Submission(
        prompt=request.prompt,
        size=request.size,
        max_images=request.max_images,
        enable_base64_output=request.enable_base64_output,
        enable_sync_mode=request.enable_sync_mode,
    )


async def _settle(ctx: Context, ticket: Ticket, intent: Intent, outcome: SubmitOutcome) -> None:
    match outcome:
        case Accepted(prediction):
            moved = await ctx.attempts.accepted(
                ticket, send=intent.send, prediction_id=prediction.id, look_in_ms=_first_look_ms(ctx, intent)
            )
            if moved is Moved.STALE:
                await _keep_through_failover(ctx, ticket, prediction.id)
        case Refused(error):
            moved = await ctx.attempts.failed(ticket, job_error(error), created_nothing=True)
        case CallbackRefused(message):
            ctx.callbacks.refused(message)
            moved = await ctx.attempts.returned(ticket, "not_now")
        case NotNow():
            own = await settle_refusal(ctx, ticket, intent, outcome)
            if own is not None:
                moved = await ctx.attempts.failed(ticket, own, created_nothing=True)
            else:
                moved = await ctx.attempts.returned(ticket, "not_now")
        case NeverLeft(_, held_up):
            moved = await ctx.attempts.returned(ticket, "never_left")
            if not held_up:
                await _count_failure(ctx, ticket)
        case Unknown(message):
            window_ms = int(ctx.settings.upstream.reconcile_window_s * 1000)
            moved = await ctx.attempts.unknown(ticket, look_in_ms=min(2_000, window_ms), message=message)
            await _count_failure(ctx, ticket)
    _say(ticket, intent, outcome, moved)


async def _keep_through_failover(ctx: Context, ticket: Ticket, prediction_id: str) -> None:
    """Record an id whose attempt the store knows nothing of, while its job waits there: the intent was lost."""
    became = await ctx.attempts.take_over(
        ticket.job_id, prediction_id=prediction_id, lane=ctx.lane, created_ms=ctx.clock.now_ms()
    )
    log.warning("submit.taken_over", job_id=ticket.job_id, prediction_id=prediction_id, became=became.name)


def _say(ticket: Ticket, intent: Intent, outcome: SubmitOutcome, moved: Moved) -> None:
    line = log.bind(
        job_id=ticket.job_id, attempt=ticket.attempt, send=intent.send, outcome=type(outcome).__name__, moved=moved.name
    )
    if isinstance(outcome, Accepted):
        write = line.error if moved in (Moved.FOREIGN, Moved.DUPLICATE) else line.info
        write("submit.settled", prediction_id=outcome.prediction.id)
    elif isinstance(outcome, Refused):
        line.info("submit.settled", code=outcome.error.code)
    else:
        line.warning("submit.settled", why=outcome.message)


async def _count_failure(ctx: Context, ticket: Ticket) -> None:
    if await ctx.lanes.report_failure(ctx.lane, ticket.job_id) and await ctx.lanes.pause(
        ctx.lane, "upstream", probe_s=ctx.settings.upstream.lane_probe_s
    ):
        log.error("lane.paused", lane=ctx.lane, reason="upstream")


def _first_look_ms(ctx: Context, intent: Intent) -> int:
    """Give when to look first: what a callback will tell of is looked at only in case that does not come."""
    if intent.request.enable_sync_mode:
        return 0
    upstream = ctx.settings.upstream
    return int((upstream.poll_max_s if intent.callback == "awaited" else upstream.poll_min_s) * 1000)


def _lease_ms(ctx: Context, *, sync: bool) -> int:
    longest = ctx.upstream.submit_deadline_s(Submission("", "2048*2048", 1, enable_sync_mode=sync))
    return int((longest + LEASE_MARGIN_S) * 1000)
