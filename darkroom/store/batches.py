"""Accepted batches as their owners and the sweeps see them: read, canceled, retried, gone through in slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from darkroom.checkpoints import Checkpoint, reach
from darkroom.store import keys
from darkroom.store.connection import read_hash
from darkroom.store.jobs import ConflictError
from darkroom.store.records import pairs
from darkroom.store.scripts import Scripts

SLICES: dict[str, int] = {"list": 250, "cancel": 40, "retry": 40, "retire": 100, "drop": 250}
"""Lines of one slice: none keeps Redis for more than a few milliseconds (`bench batches` shows the longest)."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch's record, and what holds it where it is (None: nothing but the line itself)."""

    batch_id: str
    fields: dict[str, str]
    held: str | None = None

    @property
    def tenant(self) -> str:
        """Who owns it."""
        return self.fields["tenant"]

    @property
    def last_line(self) -> int:
        """The highest line that has a job."""
        return int(self.fields.get("last_line", 0))

    @property
    def webhook(self) -> dict[str, Any] | None:
        """Whom to tell of it."""
        return orjson.loads(self.fields["webhook"]) if "webhook" in self.fields else None

    @classmethod
    def from_snapshot(cls, batch_id: str, text: str) -> "BatchRecord":
        """Read what an event remembers of its batch."""
        return cls(batch_id, pairs(orjson.loads(text)))


class BatchStore:
    """Batches. Every method raises redis' errors, which are retryable."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def read(self, batch_id: str) -> BatchRecord | None:
        """Read a batch; None when there is none (any more), or none yet."""
        fields = await read_hash(self.redis, keys.batch(batch_id))
        if not fields or fields["status"] == "dropped":
            return None
        pipe = self.redis.pipeline(transaction=False)
        pipe.hexists(keys.HELD, fields["tenant"])
        pipe.hexists(keys.HELD_BATCHES, batch_id)
        waits = int(fields.get("n:queued", 0)) > 0
        return BatchRecord(batch_id, fields, "budget" if any(await pipe.execute()) and waits else None)

    async def newest(self, tenant: str, *, before: str | None, limit: int) -> tuple[list[BatchRecord], str | None]:
        """Give a page of a tenant's batches, newest first, those before an id; and that of the next page, if any."""
        end = f"({before}" if before else "+"
        found_ids = await self.redis.zrevrangebylex(keys.batches(tenant), end, "-", start=0, num=limit + 1)
        ids = [str(batch_id) for batch_id in found_ids]
        found = [(batch_id, await self.read(batch_id)) for batch_id in ids[:limit]]
        gone = [batch_id for batch_id, record in found if record is None]
        if gone:  # their time is over; an id is never given twice
            await self.redis.zrem(keys.batches(tenant), *gone)
        return [record for _, record in found if record is not None], ids[limit - 1] if len(ids) > limit else None

    async def now_ms(self) -> int:
        """Give the server's time."""
        seconds, microseconds = await self.redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def cancel(self, batch_id: str) -> None:
        """Let nothing more of a batch be admitted, from now on; the sweep `cancel` ends what waits.

        Raises:
            KeyError: no such batch.
            ConflictError: `already_finished`.
        """
        match int(await self.scripts.call("cancel_batch", batch_id)):
            case -1:
                raise KeyError(batch_id)
            case -2:
                raise ConflictError("already_finished", "the batch has finished")

    async def retry(self, batch_id: str, include: Sequence[str]) -> None:
        """Begin to let its failed jobs go on; the sweep `retry` does, and counts.

        Raises:
            KeyError: no such batch.
            ConflictError: `retry_in_progress`, with other codes.
        """
        match int(await self.scripts.call("retry_batch", batch_id, ",".join(sorted(set(include))))):
            case -1:
                raise KeyError(batch_id)
            case -2:
                raise ConflictError("retry_in_progress", "another retry of this batch is under way")

    async def sweep_slice(self, batch_id: str, sweep: str) -> bool:
        """Do one slice of a sweep (of `SLICES`); True: it is over."""
        return int(await self.scripts.call(f"sweep_{sweep}", batch_id, SLICES[sweep])) != 0

    async def sweep(self, batch_id: str, sweep: str) -> None:
        """Do a sweep to its end, a slice a round trip, so that others' calls come between."""
        while not await self.sweep_slice(batch_id, sweep):
            reach(Checkpoint.BATCH_SLICE, sweep, batch_id)

    async def claim_manifest(self, batch_id: str, *, lease_ms: int) -> tuple[int, BatchRecord] | None:
        """Take an ended batch to write down what became of it; None: there is nothing to write."""
        reply = await self.scripts.call("claim_manifest", batch_id, lease_ms)
        return (int(reply[0]), BatchRecord(batch_id, pairs(reply[1]))) if reply else None

    async def tell(self, batch_id: str, lease: int, manifest: dict[str, Any]) -> bool:
        """Say where it is written down, and tell who wants to know; False: the batch goes on again."""
        return int(await self.scripts.call("tell_batch", batch_id, lease, orjson.dumps(manifest).decode())) == 1
