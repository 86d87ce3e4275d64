"""Refusals that are not the job's fault: what they mean for the lane, and when they are the job's own after all."""

from darkroom.jobs import UNIT_PRICE_USD, JobError
from darkroom.store.attempts import Intent, Ticket
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.outcomes import NotNow, UpstreamError
from worker.context import Context

RATE_WAIT_S = 2.0

MOST_REFUSALS = 3
"""How often in a row one job may be refused although nothing but itself can be the reason."""

log = get_logger(__name__)


def job_error(error: UpstreamError) -> JobError:
    """Give the job's error for what upstream said."""
    return JobError(
        code=error.code, message=error.message, retryable=error.kind != "permanent", upstream=error.upstream
    )


async def settle_refusal(ctx: Context, ticket: Ticket, intent: Intent, refused: NotNow) -> JobError | None:
    """Let the lane wait or pause, while the attempt is still `submitting`; gives an error where the job has to end.

    May be repeated for the same send. A job ends when it is too heavy for the account even alone, or when upstream goes
    on refusing it in words of money although the balance covers it: such a job would hold up the lane for ever.
    """
    if refused.reason == "rate":
        cost = intent.request.max_images if ctx.settings.upstream.rate_cost == "images" else 1
        wait_s = refused.retry_after_s if refused.retry_after_s is not None else RATE_WAIT_S
        refusals = await ctx.lanes.slow(ctx.lane, ticket, wait_s=wait_s, cost=cost, send=intent.send)
        return _too_heavy(intent, refused.message) if refusals >= MOST_REFUSALS else None
    if refused.refusal is not None and await _has_money(ctx, intent):
        refusals = await ctx.lanes.count_refusal(ticket, send=intent.send)
        return job_error(refused.refusal) if refusals >= MOST_REFUSALS else None
    if await ctx.lanes.pause(ctx.lane, refused.reason, probe_s=ctx.settings.upstream.lane_probe_s):
        log.error("lane.paused", lane=ctx.lane, reason=refused.reason)
    return None


async def _has_money(ctx: Context, intent: Intent) -> bool:
    try:
        return await ctx.upstream.balance() >= round(UNIT_PRICE_USD * intent.request.max_images, 2)
    except (UnauthorizedError, UpstreamUnavailableError):
        return False


def _too_heavy(intent: Intent, message: str) -> JobError:
    images = intent.request.max_images
    return JobError(
        code="exceeds_account_limit",
        message=f"{images} images at once are more than this account may have a minute: {message}",
        retryable=True,
    )
