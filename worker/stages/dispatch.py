"""Dispatch: admit what the lane's limits allow now, and call for it to be sent."""

from darkroom.checkpoints import Checkpoint, reach
from darkroom.telemetry.logs import get_logger
from worker.context import Context
from worker.stages.lane import pause_for_storage

ADMIT_AT_ONCE = 64
ADMITTED_LEASE_MS = 10_000
log = get_logger(__name__)


async def dispatch(ctx: Context) -> None:
    """Admit jobs until the line, a limit or the lane's state says stop.

    The wake flag is cleared first, so that a job that arrives meanwhile raises it again. Admitted jobs that no worker
    sends within the lease go back to their places; those that can't even be called for do so at once.

    While the store is nearly full nothing is admitted: what is under way needs the room.
    """
    await ctx.line.clear_wake()
    while not ctx.room.full:
        admission = await ctx.line.admit(
            ctx.lane,
            most=ADMIT_AT_ONCE,
            lease_ms=ADMITTED_LEASE_MS,
            max_unstored=ctx.settings.upstream.max_unstored_images,
        )
        if admission.tickets:
            log.debug("jobs.admitted", lane=ctx.lane, jobs=len(admission.tickets), reason=admission.reason)
            reach(Checkpoint.DISPATCH_ADMITTED, *admission.tickets)
            uncalled = await ctx.publisher.submit(admission.tickets)
            if uncalled:
                await ctx.attempts.unadmit(uncalled)
                return
        if admission.reason == "storage":
            await pause_for_storage(ctx, "too many paid images wait for the bucket")
        if admission.reason != "more":
            return
