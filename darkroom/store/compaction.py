"""Compaction: some time after its end a completed job shrinks to what its owners may still ask for.

Nothing can happen to a completed job any more, so one string takes the place of its record, its attempts' and those of
its delivered webhooks.
"""

from collections.abc import Sequence

from darkroom.store.jobs import JobStore
from darkroom.store.packing import pack
from darkroom.store.records import JobRecord
from darkroom.telemetry.logs import get_logger

AT_ONCE = 50
"""Jobs packed between two turns of the event loop: a few milliseconds."""

log = get_logger(__name__)


async def compact(jobs: JobStore, job_ids: Sequence[str]) -> int:
    """Compact those of these completed jobs that have not changed since they were read; gives how many.

    One that can't be packed stays whole, and a log line names it. Raises redis' errors, which are retryable: what was
    not compacted is found again.
    """
    done = 0
    for first in range(0, len(job_ids), AT_ONCE):
        records = await jobs.read_many(list(job_ids[first : first + AT_ONCE]))
        calls = [call for record in records if (call := _call(record))]
        done += sum(map(int, await jobs.scripts.call_all(calls)))
    return done


def _call(record: JobRecord) -> tuple[str, tuple[str, ...]] | None:
    """Make the call that compacts a job; None for one that has not completed, or is compacted already."""
    if record.status != "completed" or "event_seq" not in record.job:
        return None
    try:
        packed = pack(record)
    except Exception:
        log.exception("compact.unreadable", job_id=record.job_id)
        return None
    return "compact", (record.job_id, record.job["event_seq"], record.job.get("webhook_status", ""), packed)
