"""Refusals that seem not to be the job's fault: what they mean for the lane, and when they are the job's after all."""

import asyncio

from darkroom.jobs import UNIT_PRICE_USD, JobError
from darkroom.line.lanes import PauseReason
from darkroom.store.attempts import Intent, Ticket
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.outcomes import NotNow, UpstreamError
from worker.context import Context
from worker.stages.lane import read_balance

RATE_WAIT_S = 2.0

MOST_REFUSALS = 3
"""How often one job may be refused although nothing but itself can be the reason."""

MOST_VAGUE_REFUSALS = 5
"""The same where no call shows whether upstream is the reason."""

CONFIRM_WITHIN_S = 5.0
"""How long the account is asked; the submit's lease goes on running meanwhile."""

log = get_logger(__name__)


def job_error(error: UpstreamError) -> JobError:
    """Give the job's error for what upstream said."""
    return JobError(
        code=error.code, message=error.message, retryable=error.kind != "permanent", upstream=error.upstream
    )


async def settle_refusal(ctx: Context, ticket: Ticket, intent: Intent, refused: NotNow) -> JobError | None:
    """Let the lane wait or pause, while the attempt is still `submitting`; gives an error where the job has to end.

    May be repeated for the same send. A job ends when it is too heavy for the account even alone, or when upstream goes
    on refusing it although the account is fine: such a job would hold up the lane for ever. Where three different jobs
    are refused so, and none is taken between them, the lane pauses all the same.
    """
    if refused.reason == "rate":
        cost = intent.request.max_images if ctx.settings.upstream.rate_cost == "images" else 1
        wait_s = refused.retry_after_s if refused.retry_after_s is not None else RATE_WAIT_S
        refusals = await ctx.lanes.slow(ctx.lane, ticket, wait_s=wait_s, cost=cost, send=intent.send)
        return _too_heavy(intent, refused.message) if refusals >= MOST_REFUSALS else None
    if refused.refusal is None or not await _may_be_own(ctx, intent, refused):
        await _pause(ctx, refused.reason)
        return None
    own = await ctx.lanes.count_refusal(ctx.lane, ticket, send=intent.send)
    if own.meets_others:
        await _pause(ctx, refused.reason)
    most = MOST_VAGUE_REFUSALS if refused.reason == "upstream" else MOST_REFUSALS
    return job_error(refused.refusal) if own.count >= most else None


async def _pause(ctx: Context, reason: PauseReason) -> None:
    if await ctx.lanes.pause(ctx.lane, reason, probe_s=ctx.settings.upstream.lane_probe_s):
        log.error("lane.paused", lane=ctx.lane, reason=reason)


async def _may_be_own(ctx: Context, intent: Intent, refused: NotNow) -> bool:
    """Ask the account whether it is the reason; what can't be found out now is not the job's fault."""
    if refused.reason == "upstream":
        return True
    try:
        async with asyncio.timeout(CONFIRM_WITHIN_S):
            balance = await read_balance(ctx)
            if balance is not None:
                return balance >= round(UNIT_PRICE_USD * intent.request.max_images, 2)
            if refused.reason == "balance":
                return refused.is_echo
            await ctx.upstream.list_predictions(page=1, page_size=1)
            return True
    except (UnauthorizedError, UpstreamUnavailableError, TimeoutError):
        return False


def _too_heavy(intent: Intent, message: str) -> JobError:
    images = intent.request.max_images
    return JobError(
        code="exceeds_account_limit",
        message=f"{images} images at once are more than this account may have a minute: {message}",
        retryable=True,
    )
