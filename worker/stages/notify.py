"""Notify: make one attempt at one delivery; the next one is another entry in the due set."""

import asyncio
from typing import Any

from redis.exceptions import RedisError

from darkroom.checkpoints import Checkpoint, reach
from darkroom.errors import StaleLeaseError
from darkroom.storage.errors import StorageUnavailableError
from darkroom.store.batch_view import batch_view
from darkroom.store.batches import BatchRecord
from darkroom.store.deliveries import ClaimedDelivery, host_of
from darkroom.store.records import JobRecord
from darkroom.store.view import iso, job_view
from darkroom.telemetry.logs import get_logger
from darkroom.timers import DueDelivery
from darkroom.webhooks.payload import write_payload
from darkroom.webhooks.schedule import next_delay_s
from darkroom.webhooks.sender import AttemptResult, attempt_delivery
from worker.context import Context
from worker.leases import LEASE_MS
from worker.mishaps import note_mishap

ATTEMPTS_KEPT = 20
RESPONSE_KEPT = 1_000
log = get_logger(__name__)


async def notify_chunk(ctx: Context, deliveries: list[DueDelivery]) -> None:
    """Attempt each of these deliveries, independently of each other."""
    results = await asyncio.gather(*(notify(ctx, item) for item in deliveries), return_exceptions=True)
    for item, result in zip(deliveries, results, strict=True):
        if isinstance(result, BaseException):
            note_mishap(log, "notify", result, delivery_id=item.delivery_id)


async def notify(ctx: Context, due: DueDelivery) -> None:
    """Attempt one delivery, if nobody else has."""
    async with ctx.notifies:
        claimed = await ctx.deliveries.claim(due.delivery_id, due.lease, lease_ms=LEASE_MS)
        if claimed is None:
            return
        reach(Checkpoint.NOTIFY_CLAIMED, claimed.delivery["job"], claimed.delivery_id)
        async with ctx.leases.hold(f"d:{due.delivery_id}", int(claimed.lease)):
            result = await _attempt_surely(ctx, claimed)
    reach(Checkpoint.NOTIFY_POSTED, claimed.delivery["job"], claimed.delivery_id)
    await _record(ctx, claimed, result)
    reach(Checkpoint.NOTIFY_RECORDED, claimed.delivery["job"], claimed.delivery_id)


async def _attempt_surely(ctx: Context, claimed: ClaimedDelivery) -> AttemptResult:
    """Attempt it; a mistake of this program counts as a failed attempt, lest it repeat for ever and hold its host."""
    try:
        return await _attempt(ctx, claimed)
    except (StaleLeaseError, RedisError):
        raise
    except Exception as error:
        log.exception("notify.crashed", delivery_id=claimed.delivery_id)
        return AttemptResult("failed", None, 0, f"the attempt could not be made ({type(error).__name__})", heard="")


async def _attempt(ctx: Context, claimed: ClaimedDelivery) -> AttemptResult:
    secrets = claimed.signed_with(ctx.settings.webhooks.secrets)
    if not secrets:
        return AttemptResult("failed", None, 0, "no secret to sign with: set DARKROOM_WEBHOOK_SECRET", heard="")
    try:
        await ctx.bucket.renew_credentials()
    except StorageUnavailableError as error:
        if '"out:' in claimed.event["record"]:  # what has no outputs has no URLs to sign
            return AttemptResult("failed", None, 0, f"no URLs can be signed: {error}", heard="")
    return await attempt_delivery(
        ctx.webhook_session,
        url=claimed.delivery["url"],
        event_id=claimed.delivery["event"],
        body=payload(ctx, claimed),
        secrets=secrets,
        timeout_s=ctx.settings.webhooks.timeout_s,
        now_s=claimed.now_ms / 1000,
    )


def payload(ctx: Context, claimed: ClaimedDelivery) -> bytes:
    """Write the body of an attempt: the job (or batch) as it was, its outputs' URLs made now."""
    event = claimed.event
    base_url = ctx.settings.service.public_url or ""
    if event["type"].startswith("batch."):
        batch = BatchRecord.from_snapshot(event["job"], event["record"])
        return write_payload(event["type"], iso(event["at_ms"]), batch_view(batch, base_url=base_url))
    record = JobRecord.from_snapshot(event["job"], event["record"])
    data = job_view(record, url_for=ctx.bucket.object_url, base_url=base_url)
    return write_payload(event["type"], iso(event["at_ms"]), data)


async def _record(ctx: Context, claimed: ClaimedDelivery, result: AttemptResult) -> None:
    """Write the attempt down with what follows from it; others may have been waiting for the host."""
    tries = int(claimed.delivery.get("tries", 0)) + 1
    status: str = result.kind
    next_in_ms = None
    if result.kind == "failed":
        delay_s = next_delay_s(ctx.settings.webhooks.retry_schedule_s, tries, result.retry_after_s, ctx.rng)
        status = "exhausted" if delay_s is None else "pending"
        next_in_ms = None if delay_s is None else int(delay_s * 1000)
    settled = await ctx.deliveries.settle(
        claimed,
        status,
        next_in_ms=next_in_ms,
        attempts=[*claimed.attempts, _entry(claimed, result, next_in_ms)][-ATTEMPTS_KEPT:],
        heard=result.heard,
    )
    write = log.info if result.kind == "delivered" else log.warning
    write(
        "webhook.attempted",
        delivery_id=claimed.delivery_id,
        job_id=claimed.delivery["job"],
        type=claimed.delivery["type"],
        tries=tries,
        status=status,
        status_code=result.status_code,
        duration_ms=result.duration_ms,
        error=result.error,
        recorded=settled is not None,
    )
    if settled is not None and settled.breaker:
        log.warning("webhook.breaker", host=host_of(claimed.delivery["url"]), now=settled.breaker, error=result.error)
    if settled is not None and settled.freed:
        ctx.wake_poller()


def _entry(claimed: ClaimedDelivery, result: AttemptResult, next_in_ms: int | None) -> dict[str, Any]:
    ended_ms = claimed.now_ms + result.duration_ms
    return {
        "at_ms": claimed.now_ms,
        "status_code": result.status_code,
        "duration_ms": result.duration_ms,
        "error": result.error,
        "response": result.response_excerpt[:RESPONSE_KEPT],
        "next_ms": None if next_in_ms is None else ended_ms + next_in_ms,
    }
