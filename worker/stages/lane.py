"""What pauses a lane, and its timer: try whether the reason for a pause is gone, and open the lane then.

Without a usable balance call (no such call, none for this key, or an answer without a number) the list call shows
whether upstream answers and whether the key is good. What is left of the money it does not show: there one job at a
time is let through.
"""

from typing import cast

from redis.exceptions import RedisError

from darkroom.jobs import UNIT_PRICE_USD
from darkroom.line.lanes import LaneState, ProbedReason
from darkroom.storage.errors import StorageUnavailableError
from darkroom.store import keys
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from worker.context import Context

LONGEST_STORAGE_PROBE_S = 3.0
"""Nothing is asked of upstream for it, and a backlog of images is often stored within seconds."""

log = get_logger(__name__)


async def probe(ctx: Context, name: str) -> None:
    """Look at a lane whose timer went off, and open it when the reason for its pause is gone; an operator's stands."""
    states = {state.name: state for state in await ctx.lanes.states()}
    lane = states.get(name)
    if lane is None or lane.state != "paused" or lane.reason == "operator":
        return
    if lane.reason == "storage":
        await _probe_storage(ctx, name)
    else:
        await _probe_account(ctx, lane)


async def pause_for_key(ctx: Context) -> None:
    """Pause the lane because upstream did not accept the key, whichever call it was."""
    if await ctx.lanes.pause(ctx.lane, "auth", probe_s=ctx.settings.upstream.lane_probe_s):
        log.error("lane.paused", lane=ctx.lane, reason="auth")


async def pause_for_storage(ctx: Context, why: str) -> None:
    """Pause the lane because what is paid can't be stored, unless it is paused already."""
    if await ctx.lanes.pause(ctx.lane, "storage", probe_s=_storage_probe_s(ctx)):
        log.error("lane.paused", lane=ctx.lane, reason="storage", why=why)


async def count_bucket_failure(ctx: Context, job_id: str) -> None:
    """Note that the bucket did not take a job's outputs; the third different job in a row pauses the lane."""
    try:
        if await ctx.lanes.report_bucket_failure(ctx.lane, job_id):
            await pause_for_storage(ctx, "the bucket is unavailable")
    except RedisError as error:
        log.warning("lane.not_counted", lane=ctx.lane, job_id=job_id, error=str(error))


async def _probe_storage(ctx: Context, name: str) -> None:
    waiting = int(str(await ctx.redis.hget(keys.DEPTH, "*|unstored") or 0))
    why = ""
    try:
        await ctx.bucket.check()
    except StorageUnavailableError as error:
        why = str(error)
    if waiting >= ctx.settings.upstream.max_unstored_images:
        why = why or f"{waiting} paid images wait for the bucket"
    if why:
        log.info("lane.still_paused", lane=name, reason="storage", why=why)
        await ctx.lanes.probe_again(name, probe_s=_storage_probe_s(ctx))
    else:
        await _reopen(ctx, name, "storage")


async def _probe_account(ctx: Context, lane: LaneState) -> None:
    reason, probe_s = cast(ProbedReason, lane.reason), ctx.settings.upstream.lane_probe_s
    try:
        balance = await read_balance(ctx)
        if balance is None and reason != "balance":
            await ctx.upstream.list_predictions(page=1, page_size=1)
    except UnauthorizedError:
        await ctx.lanes.pause(lane.name, "auth", probe_s=probe_s)
        return
    except UpstreamUnavailableError as error:
        log.info("lane.still_paused", lane=lane.name, reason=reason, why=str(error))
        await ctx.lanes.probe_again(lane.name, probe_s=probe_s)
        return
    if balance is None and reason == "balance":
        if await ctx.lanes.try_one(lane.name, probe_s=probe_s):
            log.info("lane.tries_one", lane=lane.name)
    elif balance is not None and balance < (needed := await _needed_usd(ctx)):
        log.info("lane.still_paused", lane=lane.name, reason="balance", balance_usd=balance, needed_usd=needed)
        await ctx.lanes.pause(lane.name, "balance", probe_s=probe_s)
    else:
        await _reopen(ctx, lane.name, reason)


async def read_balance(ctx: Context) -> float | None:
    """Ask for the balance in USD; None: upstream answers, but gives no balance, or not to this key.

    Raises:
        UnauthorizedError: the key is not accepted.
        UpstreamUnavailableError: no answer that shows anything.
    """
    try:
        return await ctx.upstream.balance()
    except UnauthorizedError as error:
        if error.status == 403:
            return None
        raise
    except UpstreamUnavailableError as error:
        if not error.is_passing or (error.status is not None and error.status < 300):
            return None
        raise


async def _needed_usd(ctx: Context) -> float:
    """Give the price of the job at its turn, or of one image where nobody waits."""
    return round(UNIT_PRICE_USD * (await ctx.lanes.images_at_turn() or 1), 2)


async def _reopen(ctx: Context, name: str, was: ProbedReason) -> None:
    if await ctx.lanes.reopen(name, was):
        log.info("lane.resumed", lane=name, was=was)


def _storage_probe_s(ctx: Context) -> float:
    return min(LONGEST_STORAGE_PROBE_S, ctx.settings.upstream.lane_probe_s)
