"""Store: copy an attempt's outputs into the bucket, then job.json, then say that the job is complete.

Paid is kept: what can't be stored yet is tried again, for as long as upstream keeps it.
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from darkroom.errors import PermanentError, RetryableError, StaleLeaseError
from darkroom.ids import id_time_ms
from darkroom.jobs import JobError
from darkroom.storage.copy import StoredObject, copy_file, copy_url
from darkroom.storage.errors import (
    OutputInvalidError,
    OutputMissingError,
    SourceUnavailableError,
    StorageUnavailableError,
)
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

TRIES_AT_ONCE = 3
"""A hiccup on either side is tried again at once; what lasts longer goes back to the due set."""

HANDED_BACK_MS = 2_000
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


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything is in the bucket, job.json too."""

    delivered: int
    finished_ms: int


@dataclass(frozen=True, slots=True)
class Later:
    """Not all of it could be stored; `sources` are what upstream names now, where it was asked again."""

    delay_s: float
    message: str
    sources: str | None


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Waiting longer makes no sense."""

    error: JobError


StoreOutcome = Stored | Later | GivenUp


async def store_chunk(ctx: Context, tickets: list[Ticket]) -> None:
    """Store the outputs of each of these attempts, independently of each other."""
    results = await asyncio.gather(*(store(ctx, ticket) for ticket in tickets), return_exceptions=True)
    for ticket, result in zip(tickets, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, StaleLeaseError):
            log.error("store.crashed", job_id=ticket.job_id, attempt=ticket.attempt, exc_info=result)


async def store(ctx: Context, ticket: Ticket) -> None:
    """Store one attempt's outputs, if its ticket is still good."""
    if ctx.waiting_stores > WAITING_MOST:
        await ctx.attempts.bring_back(ticket, delay_ms=HANDED_BACK_MS)
        return
    ctx.waiting_stores += 1
    async with ctx.stores:
        ctx.waiting_stores -= 1
        claim = await ctx.attempts.claim_store(ticket, lease_ms=LEASE_MS)
        if claim is None:
            return
        ctx.clock.set(claim.now_ms)
        async with ctx.leases.hold(claim.ticket.due_member, claim.ticket.lease):
            outcome = await _work(ctx, claim)
        await _settle(ctx, claim, outcome)


async def _work(ctx: Context, claim: StoreClaim) -> StoreOutcome:
    record = claim.record
    troubles = await _copy_missing(ctx, claim, Source.read(record.attempt["sources"]))
    if not troubles:
        return await _describe(ctx, claim)
    fresh = await _read_again(ctx, record) if any(trouble.missing for trouble in troubles) else None
    error = _given_up(ctx, troubles, ctx.clock.now_ms() - int(record.attempt["storing_ms"]))
    if error is not None:
        return GivenUp(error)
    tries = int(record.attempt.get("store_tries", 0))
    delay_s = max(FIRST_DELAY_S * 2 ** min(tries, 16), *(trouble.delay_s for trouble in troubles))
    message = "; ".join(f"output {trouble.index}: {trouble.message}" for trouble in troubles)[:500]
    return Later(min(LONGEST_DELAY_S, delay_s) * ctx.rng.uniform(0.9, 1.1), message, fresh)


async def _settle(ctx: Context, claim: StoreClaim, outcome: StoreOutcome) -> None:
    line = log.bind(job_id=claim.record.job_id, attempt=claim.ticket.attempt)
    match outcome:
        case Stored(delivered, finished_ms):
            moved = await ctx.attempts.complete(claim.ticket, delivered=delivered, finished_ms=finished_ms)
            line.info("job.stored", images=delivered, moved=moved.name)
        case Later(delay_s, message, sources):
            delay_ms = int(delay_s * 1000)
            moved = await ctx.attempts.store_later(claim.ticket, delay_ms=delay_ms, message=message, sources=sources)
            line.warning("store.later", delay_s=round(delay_s, 1), why=message, moved=moved.name)
        case GivenUp(error):
            moved = await ctx.attempts.failed(claim.ticket, error)
            line.error("store.given_up", code=error.code, why=error.message, moved=moved.name)


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
        if file is None and source.url is None:
            return Trouble(source.index, "upstream names no image for it", True, FIRST_DELAY_S)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((SourceUnavailableError, StorageUnavailableError)),
            wait=wait_random(0.1, 0.5),
            stop=stop_after_attempt(TRIES_AT_ONCE),
            reraise=True,
        ):
            with attempt:
                async with ctx.copies:
                    stored = await _transfer(ctx, source, file, key_for)
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


async def _transfer(ctx: Context, source: Source, file: Path | None, key_for: Callable[[str], str]) -> StoredObject:
    if file is not None:
        return await copy_file(file, bucket=ctx.bucket, key_for=key_for)
    return await copy_url(source.url or "", bucket=ctx.bucket, source_session=ctx.output_session, key_for=key_for)


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


async def _describe(ctx: Context, claim: StoreClaim) -> StoreOutcome:
    """Write job.json beside the outputs, before anything says that the job is complete."""
    record, finished_ms = claim.record, ctx.clock.now_ms()
    view = job_view(_as_finished(record, claim.ticket.attempt, finished_ms))
    key = job_json_key(ctx.settings.storage.prefix, id_time_ms(record.job_id), record.job_id)
    try:
        await ctx.bucket.put_bytes(key, orjson.dumps(view, option=orjson.OPT_INDENT_2), "application/json")
    except StorageUnavailableError as error:
        return Later(error.delay_s, f"job.json: {error}", None)
    return Stored(sum(name.startswith("out:") for name in record.attempt), finished_ms)


def _as_finished(record: JobRecord, attempt: int, finished_ms: int) -> JobRecord:
    """Show the record as it will be once the completing script has run."""
    stored = record.attempt | {"stored_ms": str(finished_ms)}
    if record.attempt_number != attempt or record.status in ("failed", "canceled", "expired"):
        return replace(record, late={attempt: stored})
    return replace(record, job=record.job | {"status": "completed", "finished_ms": str(finished_ms)}, attempt=stored)
