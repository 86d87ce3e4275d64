"""After a restart or failover of Redis: find out what its lost writes told of, before anything is bought again.

A lane admits nothing on a server that it does not know. What was sent lately is listed once, completely: a prediction
that nobody owns and that was asked for what a waiting job asks for is given to that job, as its own. What does not say
what it was asked for pauses the lane, for an operator. Then the lane knows the server, and goes on.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
from redis.exceptions import ResponseError

from darkroom.jobs import JobStatus
from darkroom.line.lanes import ServerChange
from darkroom.store import keys
from darkroom.store.attempts import TakenOver
from darkroom.store.connection import read_set
from darkroom.store.view import request_view
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.outcomes import Submission
from worker.context import Context
from worker.stages.lane import pause_for_key
from worker.stages.reconcile.hold import SweepLostError, hold_sweep
from worker.stages.reconcile.listing import Lister, Orphan
from worker.stages.reconcile.matching import in_time
from worker.stages.reconcile.open_sends import OpenSend, read_open_sends, wanted_name
from worker.stages.submit import LEASE_MARGIN_S

CHUNK = 500
log = get_logger(__name__)


@dataclass(slots=True)
class Shares:
    """What is to become of predictions that nobody owns, by what they were asked for.

    Of what is `contested` an equal request is just being sent, and may be told that they are its own. `wait_for` says
    why nothing is clear yet.
    """

    named: dict[str, list[Orphan]] = field(default_factory=dict)
    contested: set[str] = field(default_factory=set)
    nameless: list[Orphan] = field(default_factory=list)
    wait_for: str = ""


async def check_server(ctx: Context, lane: str) -> None:
    """Look into the past of the server that answers now, unless the lane knows it; one worker does at a time."""
    change = await ctx.lanes.server_change(lane)
    if change is None:
        return
    try:
        async with hold_sweep(ctx.attempts, lane) as held:
            if held:
                await _look_into(ctx, lane, change)
    except SweepLostError:
        log.info("server.check_taken_over", lane=lane)
    except UpstreamUnavailableError as error:
        log.warning("server.not_listed", lane=lane, why=str(error), effect="nothing is admitted until it is")
    except UnauthorizedError:
        await pause_for_key(ctx)


async def _look_into(ctx: Context, lane: str, change: ServerChange) -> None:
    wait_ms = await _listed_after_ms(ctx, change)
    if change.now_ms - change.noticed_ms < wait_ms:
        log.warning("server.changed", lane=lane, effect=f"nothing is admitted for {wait_ms // 1000} s at least")
        return
    since_ms = change.seen_ms - _in_flight_ms(ctx, sync=True) - _window_ms(ctx)
    window = (since_ms, ctx.clock.now_ms())
    listing = await Lister(ctx).list_orphans([window], interesting=lambda _: True)
    shares = share_out(listing.orphans, await read_open_sends(ctx.redis, lane))
    given = None if shares.wait_for else await give(ctx, lane, shares, change.seen_ms)
    if given is None:
        log.info("server.not_clear_yet", lane=lane, waits_for=shares.wait_for or "equal requests on their way")
        return
    if shares.nameless:
        await ctx.lanes.pause(lane, "operator")
        log.critical(
            "server.unknown_predictions",
            lane=lane,
            predictions=len(shares.nameless),
            first=[orphan.prediction_id for orphan in shares.nameless[:10]],
            effect="the lane is paused: waiting jobs may have been paid before Redis failed over",
            mend="compare WaveSpeed's list with the waiting jobs, cancel those that are there, then resume the lane",
        )
    if await ctx.lanes.server_known(lane, change.server):
        log.warning("server.known", lane=lane, unowned=len(listing.orphans), given=given)
        ctx.publisher.dispatch()


async def _listed_after_ms(ctx: Context, change: ServerChange) -> int:
    """Give how long after the change was noticed a listing must begin that holds all that was sent before it.

    What those who knew the server before were sending has ended by then, and the list has had its window to show it.
    Submits in sync mode take longest, and count only where a waiting job could be such a one's.
    """
    if await keeps_every_write(ctx):
        return 0
    least_ms, most_ms = (_in_flight_ms(ctx, sync=sync) + _window_ms(ctx) for sync in (False, True))
    passed_ms = change.now_ms - change.noticed_ms
    return most_ms if least_ms <= passed_ms < most_ms and await _sync_waits(ctx) else least_ms


def _in_flight_ms(ctx: Context, *, sync: bool) -> int:
    longest_s = ctx.upstream.submit_deadline_s(Submission("", "2048*2048", 1, enable_sync_mode=sync))
    return int((longest_s + LEASE_MARGIN_S) * 1000)


def _window_ms(ctx: Context) -> int:
    return int(ctx.settings.upstream.reconcile_window_s * 1000)


async def keeps_every_write(ctx: Context) -> bool:
    """Say whether this is the same server as before, started again with all it had acknowledged."""
    info: dict[str, Any] = await ctx.redis.info("persistence", "replication")
    try:
        synced = (await ctx.redis.config_get("appendfsync")).get("appendfsync") == "always"
    except ResponseError:
        return False
    promoted = int(info.get("second_repl_offset", -1)) >= 0
    return synced and bool(int(info.get("aof_enabled", 0))) and not promoted


def share_out(orphans: Iterable[Orphan], sends: Sequence[OpenSend]) -> Shares:
    """Say which predictions nobody else can claim; pure.

    Those of lost sends are left to reconciliation, which finds each send the oldest of its own time.
    """
    shares, board = Shares(), defaultdict(list)
    for orphan in sorted(orphans, key=lambda item: item.created_ms or 0):
        if orphan.wanted is None:
            shares.nameless.append(orphan)
        else:
            board[orphan.wanted].append(orphan)
    shares.contested = {send.wanted for send in sends if send.state == "submitting"} & set(board)
    if shares.nameless and any(send.state == "submitting" or send.lost for send in sends):
        shares.wait_for = "lost sends to be settled"
    claimants = (send for send in sends if send.state != "submitting")
    for send in sorted(claimants, key=lambda item: (not item.lost, item.sent_ms)):
        found = board.get(send.wanted, [])
        own = next((orphan for orphan in found if in_time(orphan, send)), None)
        if own is not None:
            found.remove(own)
    shares.named = {wanted: found for wanted, found in board.items() if found and wanted not in shares.contested}
    return shares


async def give(ctx: Context, lane: str, shares: Shares, seen_ms: int) -> int | None:
    """Give each prediction to a job that waits for the same; how many were given, None: it is not over yet."""
    wanted_by_some = shares.contested | set(shares.named)
    waiting = await _waiting(ctx, wanted_by_some) if wanted_by_some else {}
    if any(waiting.get(wanted) for wanted in shares.contested):
        return None
    given = 0
    for wanted, orphans in shares.named.items():
        jobs = waiting.get(wanted, [])
        while orphans and jobs:
            orphan, job_id = orphans[0], jobs.pop(0)
            became = await ctx.attempts.take_over(
                job_id, prediction_id=orphan.prediction_id, lane=lane, created_ms=orphan.created_ms or seen_ms
            )
            if became is TakenOver.ADMITTED:
                return None
            if became is TakenOver.FOREIGN:
                jobs.insert(0, job_id)
            if became is not TakenOver.NOT_WAITING:
                orphans.pop(0)
            if became is TakenOver.DONE:
                given += 1
                log.warning("server.took_over", job_id=job_id, prediction_id=orphan.prediction_id)
    return given


async def _waiting(ctx: Context, wanted: set[str]) -> dict[str, list[str]]:
    """Give the waiting jobs that ask for one of these, first come first."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    async for job_id, seq, asked in _all_waiting(ctx):
        name = wanted_name(asked["prompt"], asked["size"], asked["max_images"])
        if name in wanted:
            found[name].append((seq, job_id))
    return {name: [job_id for _, job_id in sorted(jobs)] for name, jobs in found.items()}


async def _sync_waits(ctx: Context) -> bool:
    async for _, _, asked in _all_waiting(ctx):
        if asked["enable_sync_mode"]:
            return True
    return False


async def _all_waiting(ctx: Context) -> AsyncIterator[tuple[str, int, dict[str, Any]]]:
    """Give id, place and request of every waiting job, admitted ones included."""
    for tenant in await read_set(ctx.redis, keys.TENANTS):
        index, after = keys.index(tenant, JobStatus.QUEUED), "-"
        while ids := cast(list[str], await ctx.redis.zrangebylex(index, after, "+", 0, CHUNK)):
            after = f"({ids[-1]}"
            pipe = ctx.redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.hmget(keys.job(job_id), "request", "seq")
            for job_id, (request, seq) in zip(ids, await pipe.execute(), strict=True):
                if request is not None:
                    yield job_id, int(seq), request_view(orjson.loads(request))
