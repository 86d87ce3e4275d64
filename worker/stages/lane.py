"""The lane's timer: try whether a paused lane can be opened again, never by a submit."""

from darkroom.jobs import UNIT_PRICE_USD
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from worker.context import Context

log = get_logger(__name__)


async def probe(ctx: Context, name: str) -> None:
    """Look at a lane whose timer went off; opens it when the reason for its pause is gone.

    An operator's pause stands. Any other is tried by the balance call, which shows at once whether upstream answers,
    whether the key is good and what is left.
    """
    states = {state.name: state for state in await ctx.lanes.states()}
    lane = states.get(name)
    if lane is None or lane.state != "paused" or lane.reason == "operator":
        return
    probe_s = ctx.settings.upstream.lane_probe_s
    try:
        balance = await ctx.upstream.balance()
    except UnauthorizedError:
        await ctx.lanes.pause(name, "auth", probe_s=probe_s)
        return
    except UpstreamUnavailableError as error:
        log.info("lane.still_paused", lane=name, reason=lane.reason, why=str(error))
        await ctx.lanes.probe_again(name, probe_s=probe_s)
        return
    if balance < UNIT_PRICE_USD:
        await ctx.lanes.pause(name, "balance", probe_s=probe_s)
        return
    if await ctx.lanes.reopen(name):
        log.info("lane.resumed", lane=name, was=lane.reason)


async def pause_for_key(ctx: Context) -> None:
    """Pause the lane because upstream did not accept the key, whichever call it was."""
    if await ctx.lanes.pause(ctx.lane, "auth", probe_s=ctx.settings.upstream.lane_probe_s):
        log.error("lane.paused", lane=ctx.lane, reason="auth")
