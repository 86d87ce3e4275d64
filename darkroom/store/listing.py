"""Finding jobs: newest first, filtered, page by page.

A page examines a bounded number of jobs, so that a filter that matches little costs little; a page may therefore be
shorter than its limit and still have a next one.
"""

import heapq
from dataclasses import dataclass, field

from redis.asyncio import Redis

from darkroom.ids import id_floor, id_time_ms
from darkroom.jobs import JobStatus
from darkroom.store import keys
from darkroom.store.batch_ids import batch_job_id, line_of
from darkroom.store.connection import read_set
from darkroom.store.jobs import JobStore
from darkroom.store.records import JobRecord

CHUNK = 200
MOST_EXAMINED = 4_000


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a listing wants; None means any. Times in Unix milliseconds, `after` inclusive, `before` exclusive."""

    tenant: str | None = None
    status: str | None = None
    batch_id: str | None = None
    custom_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    created_after_ms: int | None = None
    created_before_ms: int | None = None

    @property
    def needs_records(self) -> bool:
        """Whether only the record itself tells if it matches."""
        return bool(self.custom_id or self.metadata or (self.batch_id and self.status))

    def matches(self, record: JobRecord) -> bool:
        """Whether a record is wanted, as far as the index has not decided it."""
        if self.status is not None and record.status != self.status:
            return False
        if self.batch_id is not None and record.job.get("batch") != self.batch_id:
            return False
        if not (self.custom_id or self.metadata):
            return True
        request = record.request
        if self.custom_id is not None and request.get("custom_id") != self.custom_id:
            return False
        given = request.get("metadata", {})
        return all(given.get(key) == value for key, value in self.metadata.items())


async def list_jobs(
    store: JobStore, wanted: JobFilter, *, limit: int, cursor: str | None = None
) -> tuple[list[JobRecord], str | None]:
    """Give one page, newest first, and the cursor of the next one (None: that was all)."""
    last_line = 0 if wanted.batch_id is None else await _last_line(store.redis, wanted.batch_id, wanted)
    indexes = await _indexes(store.redis, wanted) if wanted.batch_id is None else []
    found: list[JobRecord] = []
    examined = 0
    while examined < MOST_EXAMINED:
        size = CHUNK if wanted.needs_records else limit - len(found)
        if wanted.batch_id is None:
            ids = await _newest(store.redis, indexes, wanted, cursor, size)
        else:
            ids = _newest_of_batch(wanted.batch_id, last_line, cursor, size)
        records = await store.read_many(ids)
        await _forget(store.redis, indexes, set(ids) - {record.job_id for record in records})
        for record in records:
            if not wanted.matches(record):
                continue
            found.append(record)
            if len(found) == limit:
                return found, record.job_id
        if len(ids) < size:
            return found, None
        cursor = ids[-1]
        examined += size
    return found, cursor


async def _last_line(redis: Redis, batch_id: str, wanted: JobFilter) -> int:
    """Give a batch's last line; 0 where there is none that is wanted."""
    tenant, linked_ms, last_line = await redis.hmget(keys.batch(batch_id), ["tenant", "linked_ms", "last_line"])
    if linked_ms is None or wanted.tenant not in (None, tenant):
        return 0
    made_ms = id_time_ms(batch_id)
    late = wanted.created_before_ms is not None and made_ms >= wanted.created_before_ms
    early = wanted.created_after_ms is not None and made_ms < wanted.created_after_ms
    return 0 if late or early else int(str(last_line))


def _newest_of_batch(batch_id: str, last_line: int, cursor: str | None, count: int) -> list[str]:
    """Name the jobs of the lines before the cursor's; a line that was blank or passed over has none."""
    newest = min(last_line, line_of(cursor) - 1) if cursor is not None else last_line
    return [batch_job_id(batch_id, line) for line in range(newest, max(0, newest - count), -1)]


async def _indexes(redis: Redis, wanted: JobFilter) -> list[str]:
    tenants = await read_set(redis, keys.TENANTS) if wanted.tenant is None else [wanted.tenant]
    statuses = [wanted.status] if wanted.status else [status.value for status in JobStatus]
    return [keys.index(tenant, status) for tenant in tenants for status in statuses]


async def _newest(redis: Redis, indexes: list[str], wanted: JobFilter, cursor: str | None, count: int) -> list[str]:
    before = id_floor("job", wanted.created_before_ms) if wanted.created_before_ms is not None else None
    ends = [end for end in (cursor, before) if end is not None]
    newest = f"({min(ends)}" if ends else "+"
    oldest = f"[{id_floor('job', wanted.created_after_ms)}" if wanted.created_after_ms is not None else "-"
    pipe = redis.pipeline(transaction=True)  # a job that moves from one index to another must be in one of them
    for index in indexes:
        pipe.zrevrangebylex(index, newest, oldest, start=0, num=count)
    lists = await pipe.execute()
    return list(heapq.nlargest(count, {job_id for ids in lists for job_id in ids}))


async def _forget(redis: Redis, indexes: list[str], gone: set[str]) -> None:
    """Take jobs whose records have expired out of the indexes; an id is never given twice, so no move can interfere."""
    if not gone:
        return
    pipe = redis.pipeline(transaction=False)
    for index in indexes:
        pipe.zrem(index, *gone)
    await pipe.execute()
