"""Compaction: some time after its end a completed job shrinks to what its owners may still ask for.

Nothing can happen to a completed job any more, so one string takes the place of its record, its attempts' and those of
its delivered webhooks.
"""

from collections.abc import Sequence

from darkroom.store.jobs import JobStore
from darkroom.store.packing import pack

AT_ONCE = 50
"""Jobs packed between two turns of the event loop: a few milliseconds."""


async def compact(jobs: JobStore, job_ids: Sequence[str]) -> int:
    """Compact those of these completed jobs that have not changed since they were read; gives how many.

    Raises redis' errors, which are retryable: what was not compacted is found again.
    """
    done = 0
    for first in range(0, len(job_ids), AT_ONCE):
        records = await jobs.read_many(list(job_ids[first : first + AT_ONCE]))
        calls = [
            ("compact", (record.job_id, record.job["event_seq"], pack(record)))
            for record in records
            if record.status == "completed" and "event_seq" in record.job  # else it is compacted
        ]
        done += sum(map(int, await jobs.scripts.call_all(calls)))
    return done
