"""Store: copy an attempt's outputs into the bucket, then job.json, then say that the job is complete.

Paid is kept: what can't be stored yet is tried again, for as long as upstream keeps it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson
from redis.exceptions import RedisError

from darkroom.checkpoints import Checkpoint, reach
from darkroom.errors import StaleLeaseError
from darkroom.ids import id_time_ms
from darkroom.jobs import JobError
from darkroom.storage.errors import StorageUnavailableError
from darkroom.storage.naming import job_json_key
from darkroom.store.attempts import Moved, StoreClaim, Ticket
from darkroom.store.jobs import JobStore
from darkroom.store.records import JobRecord
from darkroom.store.view import job_view
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.outcomes import Completed, Pending
from worker.context import Context
from worker.leases import LEASE_MS
from worker.mishaps import note_mishap
from worker.stages.copying import FIRST_DELAY_S, LONGEST_DELAY_S, Trouble, copy_missing, not_now
from worker.stages.lane import count_bucket_failure
from worker.stages.look import RETENTION_MS, sources_of

WAITING_MOST = 10_000
"""Tickets waiting for their turn in one process, a few kB each at most; beyond it they are left to the due set.

Handing one back costs as much as a look, every two seconds. An account of the largest tier that ends everything at once
fits, with as many images as may be unstored before.
"""

HANDED_BACK_MS = 2_000
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything is in the bucket, job.json too, which shows the job as completed or (`late`) with late outputs."""

    delivered: int
    finished_ms: int
    late: bool


@dataclass(frozen=True, slots=True)
class Later:
    """Not all of it could be stored. `gone`: upstream was asked and has none of what is missing.

    `sources` are what upstream names now, where it was asked again; `bucket` says that the bucket is in the way.
    """

    delay_s: float
    message: str
    gone: bool = False
    sources: str | None = None
    bucket: bool = False


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Waiting longer makes no sense."""

    error: JobError


StoreOutcome = Stored | Later | GivenUp


async def store_chunk(ctx: Context, tickets: list[Ticket]) -> None:
    """Store the outputs of each of these attempts, independently of each other."""
    results = await asyncio.gather(*(store(ctx, ticket) for ticket in tickets), return_exceptions=True)
    for ticket, result in zip(tickets, results, strict=True):
        if isinstance(result, BaseException):
            note_mishap(log, "store", result, job_id=ticket.job_id, attempt=ticket.attempt)


async def store(ctx: Context, ticket: Ticket) -> None:
    """Store one attempt's outputs, if its ticket is still good."""
    if ticket in ctx.waiting_stores:
        return  # its message was sent twice, and the first one waits here
    if len(ctx.waiting_stores) > WAITING_MOST:
        await ctx.attempts.bring_back(ticket, delay_ms=HANDED_BACK_MS)
        return
    async with _turn(ctx, ticket) as wanted:
        if not wanted:
            return  # this worker is leaving
        claim = await ctx.attempts.claim_store(ticket, lease_ms=LEASE_MS)
        if claim is None:
            return
        ctx.clock.set(claim.now_ms)
        reach(Checkpoint.STORE_CLAIMED, claim.ticket)
        async with ctx.leases.hold(claim.ticket.due_member, claim.ticket.lease):
            outcome = await _work(ctx, claim)
        await _settle(ctx, claim, outcome)


@asynccontextmanager
async def _turn(ctx: Context, ticket: Ticket) -> AsyncIterator[bool]:
    """Wait for a place; False: whoever waited is not to begin any more."""
    ctx.waiting_stores.add(ticket)
    try:
        await ctx.stores.acquire()
        wanted = ticket in ctx.waiting_stores
    finally:
        ctx.waiting_stores.discard(ticket)
    try:
        yield wanted
    finally:
        ctx.stores.release()


async def _work(ctx: Context, claim: StoreClaim) -> StoreOutcome:
    """Copy and describe; a mistake of this program is put off like any trouble, lest it repeat without end."""
    try:
        troubles = await copy_missing(ctx, claim)
        outcome = await _put_off(ctx, claim, troubles) if troubles else await _describe(ctx, claim)
    except (StaleLeaseError, RedisError):
        raise
    except Exception as error:
        log.exception("store.crashed", job_id=claim.record.job_id, attempt=claim.ticket.attempt)
        outcome = Later(_delay_s(ctx, claim), f"storing failed ({type(error).__name__})")
    return _given_up(ctx, claim, outcome) or outcome if isinstance(outcome, Later) else outcome


async def _settle(ctx: Context, claim: StoreClaim, outcome: StoreOutcome) -> None:
    line = log.bind(job_id=claim.record.job_id, attempt=claim.ticket.attempt)
    match outcome:
        case Stored(delivered, finished_ms, late):
            reach(Checkpoint.STORE_DESCRIBED, claim.ticket)
            moved = await ctx.attempts.complete(claim.ticket, delivered=delivered, finished_ms=finished_ms)
            reach(Checkpoint.STORE_COMPLETED, claim.ticket, moved.name)
            line.info("job.stored", images=delivered, moved=moved.name)
            if moved is (Moved.DONE if late else Moved.OTHER):
                await _describe(ctx, claim)  # canceled or retried while job.json was written
        case Later(delay_s, message, gone, sources, bucket):
            delay_ms = int(delay_s * 1000)
            moved = await ctx.attempts.store_later(
                claim.ticket, delay_ms=delay_ms, message=message, gone=gone, sources=sources
            )
            line.warning("store.later", delay_s=round(delay_s, 1), why=message, moved=moved.name)
            if bucket:
                await count_bucket_failure(ctx, claim.record.job_id)
        case GivenUp(error):
            moved = await ctx.attempts.failed(claim.ticket, error)
            line.error("store.given_up", code=error.code, why=error.message, moved=moved.name)


async def _put_off(ctx: Context, claim: StoreClaim, troubles: list[Trouble]) -> Later:
    delay_s = max(trouble.delay_s for trouble in troubles)
    gone, fresh = False, None
    if any(trouble.missing for trouble in troubles):
        asked, fresh = await _read_again(ctx, claim.record)
        gone = asked and all(trouble.missing for trouble in troubles)
    message = "; ".join(f"output {trouble.index}: {trouble.message}" for trouble in troubles)[:500]
    return Later(_delay_s(ctx, claim, delay_s), message, gone, fresh, any(trouble.bucket for trouble in troubles))


def _delay_s(ctx: Context, claim: StoreClaim, least_s: float = 0.0) -> float:
    tries = int(claim.record.attempt.get("store_tries", 0))
    delay_s = max(FIRST_DELAY_S * 2.0 ** min(tries, 16), least_s)
    return min(LONGEST_DELAY_S, delay_s) * ctx.rng.uniform(0.9, 1.1)


def _given_up(ctx: Context, claim: StoreClaim, later: Later) -> GivenUp | None:
    """Decide whether waiting longer makes sense: briefly for what upstream does not have, else for its retention.

    The grace begins when upstream was first found not to have it, not when the job was completed: until then the bucket
    or the workers may have been what was missing.
    """
    now_ms, attempt = ctx.clock.now_ms(), claim.record.attempt
    gone_ms = int(attempt.get("gone_ms", now_ms))
    if later.gone and now_ms - gone_ms > ctx.settings.upstream.output_grace_s * 1000:
        return GivenUp(JobError(code="output_unavailable", message=later.message, retryable=True))
    if now_ms - int(attempt["storing_ms"]) > RETENTION_MS:
        code = "output_unavailable" if later.gone else "storage_failed"
        return GivenUp(JobError(code=code, message=later.message, retryable=False))
    return None


async def _read_again(ctx: Context, record: JobRecord) -> tuple[bool, str | None]:
    """Ask upstream for the outputs anew: their addresses may have expired or appeared late.

    Gives whether upstream could be asked, and what it names now.
    """
    outcome = await ctx.upstream.look(record.attempt["prediction_id"])
    if isinstance(outcome, Completed):
        return True, sources_of(outcome.prediction)
    return not isinstance(outcome, Pending) and await not_now(ctx, outcome) is None, None


async def _describe(ctx: Context, claim: StoreClaim) -> Stored | Later:
    """Write job.json beside the outputs, before anything says that the job is complete."""
    finished_ms = ctx.clock.now_ms()
    record = await JobStore(ctx.redis).read(claim.record.job_id) or claim.record
    shown = _as_finished(record, claim, finished_ms)
    key = job_json_key(ctx.settings.storage.prefix, id_time_ms(record.job_id), record.job_id)
    try:
        await ctx.bucket.put_bytes(key, orjson.dumps(job_view(shown), option=orjson.OPT_INDENT_2), "application/json")
    except StorageUnavailableError as error:
        return Later(_delay_s(ctx, claim, error.delay_s), f"job.json: {error}", bucket=True)
    delivered = sum(name.startswith("out:") for name in claim.record.attempt)
    return Stored(delivered, finished_ms, late=claim.ticket.attempt in shown.late)


def _as_finished(record: JobRecord, claim: StoreClaim, finished_ms: int) -> JobRecord:
    """Show the job, as it is now, as it will be once the completing script has run."""
    number, stored = claim.ticket.attempt, claim.record.attempt | {"state": "done", "stored_ms": str(finished_ms)}
    late = record.late | {number: stored}
    if record.attempt_number != number:
        return replace(record, late=late, earlier=record.earlier | {number: stored})
    if record.status in ("failed", "canceled", "expired"):
        return replace(record, late=late, attempt=stored)
    if record.status == "completed":
        return record
    return replace(record, job=record.job | {"status": "completed", "finished_ms": str(finished_ms)}, attempt=stored)
