"""Store: copy an attempt's outputs into the bucket, then job.json, then say that the job is complete.

Paid is kept: what can't be stored yet is tried again, for as long as upstream keeps it.
"""

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from darkroom.errors import PermanentError, RetryableError, StaleLeaseError
from darkroom.ids import id_time_ms
from darkroom.jobs import JobError
from darkroom.storage.copy import StoredObject, copy_file, copy_url
from darkroom.storage.errors import OutputInvalidError, OutputMissingError, StorageUnavailableError
from darkroom.storage.naming import job_json_key, output_key
from darkroom.store.attempts import Moved, StoreClaim, Ticket
from darkroom.store.records import JobRecord
from darkroom.store.view import job_view
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.outcomes import Completed, Unavailable
from worker.context import Context
from worker.leases import LEASE_MS
from worker.stages.look import RETENTION_MS, sources_of

WAITING_MOST = 256
"""Tickets waiting for their turn in one process; beyond it they are left to the due set."""

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 300.0
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """One output as upstream named it."""

    index: int
    url: str | None
    base64: bool
    nsfw: bool | None

    @classmethod
    def read(cls, text: str) -> list["Source"]:
        """Read what the look wrote down."""
        return [cls(item["index"], item["url"], item["base64"], item["nsfw"]) for item in orjson.loads(text)]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an output is not stored (`missing`: at the source, not on the way), and when to try again."""

    index: int
    message: str
    missing: bool
    delay_s: float


async def store_chunk(ctx: Context, tickets: list[Ticket]) -> None:
    """Store the outputs of each of these attempts, independently of each other."""
    results = await asyncio.gather(*(store(ctx, ticket) for ticket in tickets), return_exceptions=True)
    for ticket, result in zip(tickets, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, StaleLeaseError):
            log.error("store.crashed", job_id=ticket.job_id, attempt=ticket.attempt, exc_info=result)


async def store(ctx: Context, ticket: Ticket) -> None:
    """Store one attempt's outputs, if its ticket is still good."""
    if ctx.waiting_stores > WAITING_MOST:
        return
    ctx.waiting_stores += 1
    async with ctx.stores:
        ctx.waiting_stores -= 1
        claim = await ctx.attempts.claim_store(ticket, lease_ms=LEASE_MS)
        if claim is None:
            return
        async with ctx.leases.hold(claim.ticket.due_member, claim.ticket.lease):
            await _store_claimed(ctx, claim)


async def _store_claimed(ctx: Context, claim: StoreClaim) -> None:
    ctx.clock.set(claim.now_ms)
    record = claim.record
    sources = Source.read(record.attempt["sources"])
    troubles = await _copy_missing(ctx, claim, sources)
    if not troubles:
        await _complete(ctx, claim)
        return
    worst = max(troubles, key=lambda trouble: trouble.delay_s)
    fresh = await _read_again(ctx, record) if any(trouble.missing for trouble in troubles) else None
    tries = int(record.attempt.get("store_tries", 0))
    waited_ms = ctx.clock.now_ms() - int(record.attempt["storing_ms"])
    error = _given_up(ctx, troubles, waited_ms)
    if error is not None:
        moved = await ctx.attempts.failed(claim.ticket, error)
        log.error("store.given_up", job_id=record.job_id, code=error.code, why=error.message, moved=moved.name)
        return
    delay_s = min(LONGEST_DELAY_S, max(worst.delay_s, FIRST_DELAY_S * 2**tries) * ctx.rng.uniform(0.9, 1.1))
    message = "; ".join(f"output {trouble.index}: {trouble.message}" for trouble in troubles)[:500]
    await ctx.attempts.store_later(claim.ticket, delay_ms=int(delay_s * 1000), message=message, sources=fresh)
    log.warning("store.later", job_id=record.job_id, tries=tries + 1, delay_s=round(delay_s, 1), why=message)


def _given_up(ctx: Context, troubles: list[Trouble], waited_ms: int) -> JobError | None:
    """Decide whether waiting longer makes sense: briefly for what upstream does not have, else for its retention."""
    lasting = [trouble for trouble in troubles if trouble.missing]
    if lasting and len(lasting) == len(troubles) and waited_ms > ctx.settings.upstream.output_grace_s * 1000:
        return JobError(code="output_unavailable", message=lasting[0].message, retryable=True)
    if waited_ms > RETENTION_MS:
        code = "output_unavailable" if lasting else "storage_failed"
        return JobError(code=code, message=troubles[0].message, retryable=False)
    return None


async def _copy_missing(ctx: Context, claim: StoreClaim, sources: list[Source]) -> list[Trouble]:
    missing = [source for source in sources if f"out:{source.index}" not in claim.record.attempt]
    with tempfile.TemporaryDirectory(prefix="darkroom-", ignore_cleanup_errors=True) as folder:
        files: dict[int, Path] = {}
        if any(source.base64 for source in missing):
            outcome, files = await ctx.upstream.read_result(
                claim.record.attempt["prediction_id"], spool_dir=Path(folder)
            )
            if isinstance(outcome, Unavailable):
                delay_s = outcome.retry_after_s or FIRST_DELAY_S
                return [Trouble(source.index, outcome.message, False, delay_s) for source in missing]
        copies = [_copy(ctx, claim, source, files.get(source.index)) for source in missing]
        results = await asyncio.gather(*copies)
    return [trouble for trouble in results if trouble is not None]


async def _copy(ctx: Context, claim: StoreClaim, source: Source, file: Path | None) -> Trouble | None:
    record = claim.record

    def key_for(extension: str) -> str:
        return output_key(
            ctx.settings.storage.prefix,
            id_time_ms(record.job_id),
            record.job_id,
            claim.ticket.attempt,
            source.index,
            extension,
        )

    try:
        async with ctx.copies:
            if file is not None:
                stored = await copy_file(file, bucket=ctx.bucket, key_for=key_for)
            elif source.url is not None:
                stored = await copy_url(
                    source.url, bucket=ctx.bucket, source_session=ctx.output_session, key_for=key_for
                )
            else:
                return Trouble(source.index, "upstream names no image for it", True, FIRST_DELAY_S)
    except (OutputMissingError, OutputInvalidError) as error:
        return Trouble(source.index, str(error), True, error.delay_s)
    except RetryableError as error:
        return Trouble(source.index, str(error), False, error.delay_s)
    except PermanentError as error:
        return Trouble(source.index, str(error), True, LONGEST_DELAY_S)
    output = orjson.dumps(_output(ctx, source, stored)).decode()
    record.attempt[f"out:{source.index}"] = output
    if await ctx.attempts.save_output(claim.ticket, source.index, output) is not Moved.DONE:
        raise StaleLeaseError(claim.ticket.due_member)
    return None


def _output(ctx: Context, source: Source, stored: StoredObject) -> dict[str, Any]:
    return {
        "index": source.index,
        "bucket": ctx.bucket.name,
        "key": stored.key,
        "content_type": stored.content_type,
        "bytes": stored.size_bytes,
        "sha256": stored.sha256,
        "width": stored.width,
        "height": stored.height,
        "nsfw": source.nsfw,
    }


async def _read_again(ctx: Context, record: JobRecord) -> str | None:
    """Ask upstream for the outputs anew: their addresses may have expired or appeared late."""
    outcome = await ctx.upstream.look(record.attempt["prediction_id"])
    return sources_of(outcome.prediction) if isinstance(outcome, Completed) else None


async def _complete(ctx: Context, claim: StoreClaim) -> None:
    record, ticket = claim.record, claim.ticket
    finished_ms = ctx.clock.now_ms()
    try:
        await ctx.bucket.put_bytes(
            job_json_key(ctx.settings.storage.prefix, id_time_ms(record.job_id), record.job_id),
            orjson.dumps(job_view(_as_finished(record, ticket.attempt, finished_ms)), option=orjson.OPT_INDENT_2),
            "application/json",
        )
    except StorageUnavailableError as error:
        await ctx.attempts.store_later(ticket, delay_ms=int(error.delay_s * 1000), message=f"job.json: {error}")
        log.warning("store.later", job_id=record.job_id, why=f"job.json: {error}")
        return
    delivered = sum(name.startswith("out:") for name in record.attempt)
    moved = await ctx.attempts.complete(ticket, delivered=delivered, finished_ms=finished_ms)
    log.info("job.stored", job_id=record.job_id, attempt=ticket.attempt, images=delivered, moved=moved.name)


def _as_finished(record: JobRecord, attempt: int, finished_ms: int) -> JobRecord:
    """Show the record as it will be once the completing script has run."""
    stored = record.attempt | {"stored_ms": str(finished_ms)}
    if record.attempt_number != attempt or record.status in ("failed", "canceled", "expired"):
        return replace(record, late={attempt: stored})
    return replace(record, job=record.job | {"status": "completed", "finished_ms": str(finished_ms)}, attempt=stored)
