"""Manifest: write down in the bucket what became of an ended batch, and only then tell who wants to be told."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO

import orjson

from darkroom.checkpoints import Checkpoint, reach
from darkroom.ids import id_time_ms
from darkroom.jobs import JobStatus
from darkroom.storage.errors import StorageUnavailableError
from darkroom.storage.naming import batch_json_key, results_key
from darkroom.store.batch_ids import batch_job_id, line_of
from darkroom.store.batch_view import batch_view
from darkroom.store.batches import BatchRecord
from darkroom.store.view import job_view
from darkroom.telemetry.logs import get_logger
from worker.context import Context
from worker.leases import LEASE_MS
from worker.mishaps import note_mishap

READ_AT_ONCE = 200
CHUNK_BYTES = 2**18
log = get_logger(__name__)


async def write_manifests(ctx: Context, batches: list[str]) -> None:
    """Write down each of these batches, one after the other: none of them is in a hurry."""
    for batch_id in batches:
        try:
            await write_manifest(ctx, batch_id)
        except StorageUnavailableError as error:
            log.warning("batch.not_written", batch_id=batch_id, why=str(error))  # its timer calls again
        except Exception as error:
            note_mishap(log, "manifest", error, batch_id=batch_id)


async def write_manifest(ctx: Context, batch_id: str) -> None:
    """Write `results.ndjson` and `batch.json` of a batch that has ended, if nobody else has.

    Both hold keys and no URLs, so that they say the same for ever.
    """
    claim = await ctx.batches.claim_manifest(batch_id, lease_ms=LEASE_MS)
    if claim is None:
        return
    lease, record = claim
    reach(Checkpoint.MANIFEST_CLAIMED, batch_id)
    prefix, made_ms = ctx.settings.storage.prefix, id_time_ms(batch_id)
    manifest = {
        "bucket": ctx.bucket.name,
        "batch_key": batch_json_key(prefix, made_ms, batch_id),
        "results_key": results_key(prefix, made_ms, batch_id),
    }
    async with ctx.leases.hold(f"m:{batch_id}", lease):
        await _write_results(ctx, record, manifest["results_key"])
        reach(Checkpoint.MANIFEST_RESULTS, batch_id)
        body = orjson.dumps(batch_view(record) | {"manifest": manifest}, option=orjson.OPT_INDENT_2)
        await ctx.bucket.put_bytes(manifest["batch_key"], body, "application/json")
    reach(Checkpoint.MANIFEST_WRITTEN, batch_id)
    told = await ctx.batches.tell(batch_id, lease, manifest)
    reach(Checkpoint.MANIFEST_TOLD, batch_id)
    log.info("batch.ended", batch_id=batch_id, status=record.fields["status"], told=told)


async def _write_results(ctx: Context, record: BatchRecord, key: str) -> None:
    """Write them to a file first: the bucket wants to know their size, and they may be more than memory should hold."""
    with tempfile.TemporaryFile() as file:
        async for lines in _results(ctx, record):
            await asyncio.to_thread(file.write, lines)
        size_bytes = file.tell()
        file.seek(0)
        await ctx.bucket.put_stream(key, _chunks(file), size_bytes, "application/x-ndjson")


async def _results(ctx: Context, record: BatchRecord) -> AsyncIterator[bytes]:
    """Give a line for each job that has ended, in the order of the upload."""
    for first in range(1, record.last_line + 1, READ_AT_ONCE):
        lines = range(first, min(first + READ_AT_ONCE, record.last_line + 1))
        jobs = await ctx.jobs.read_many([batch_job_id(record.batch_id, line) for line in lines])
        shown = [(line_of(job.job_id), job_view(job)) for job in jobs if JobStatus(job.status).terminal]
        yield b"".join(
            orjson.dumps({"line": line, "custom_id": job["custom_id"], "job": job}) + b"\n" for line, job in shown
        )


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
