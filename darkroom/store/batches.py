"""Batches as their owners and the sweeps see them: staged out of sight, linked at once, gone through in slices."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from redis.asyncio import Redis
from ulid import ULID

from darkroom.checkpoints import Checkpoint, reach
from darkroom.ids import now_ms
from darkroom.jobs import JobRequest, Webhook, usd
from darkroom.store import keys
from darkroom.store.connection import read_hash
from darkroom.store.jobs import IDEMPOTENCY_LIFE_MS, BudgetError, ConflictError, LineFullError
from darkroom.store.records import pairs
from darkroom.store.scripts import Scripts

MOST_JOBS = 50_000
MOST_LINES = 1_000_000
"""Lines of an upload, blank ones included: what fits the part of a job's id that is its line."""

SILENCE_MS = 15_000
"""How long an uploader may be silent before its batch may be begun anew; after twice that it is dropped."""

MOST_UPLOADS = 8
"""Uploads of a tenant at once: what is staged counts against no other limit."""

SLICES: dict[str, int] = {"list": 250, "cancel": 40, "retry": 40, "retire": 100, "drop": 250}
"""Lines of one slice: none keeps Redis for more than a few milliseconds (`bench batches` shows the longest)."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LINE_DIGITS = 4
_LINE_BITS = 5 * _LINE_DIGITS


class TooManyUploadsError(LineFullError):
    """The tenant has as many uploads under way as it may. Retryable once one has ended."""


class BatchGoneError(ConflictError):
    """What was being uploaded is not accepted any more: its time was over, or another upload took its key."""

    def __init__(self) -> None:
        super().__init__("batch_dropped", "the upload was silent for too long, or another one took its place")


@dataclass(frozen=True, slots=True)
class Line:
    """One job of an upload; `number` counts lines from 1, `text` is what its record keeps of the request."""

    number: int
    images: int
    priority: str
    text: str
    expires_ms: int

    @property
    def flat(self) -> tuple[int, int, str, str, int]:
        """Give it as `stage_lines.lua` takes it."""
        return self.number, self.images, self.priority, self.text, self.expires_ms

    @classmethod
    def of(cls, number: int, request: JobRequest) -> "Line":
        """Prepare a request."""
        text = orjson.dumps(request.model_dump(mode="json", exclude_defaults=True)).decode()
        return cls(number, request.max_images, request.priority, text, (request.expires_in or 0) * 1000)


@dataclass(frozen=True, slots=True)
class Begun:
    """What became of an upload's begin: `begun`, `replayed` (an earlier batch under its key) or `in_progress`."""

    kind: Literal["begun", "replayed", "in_progress"]
    batch_id: str
    fingerprint: str = ""


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


def new_batch_id() -> str:
    """Make an id whose last four characters are zeros (its jobs have their lines there); 60 of its bits are random."""
    value = (now_ms() << 80) | (secrets.randbits(80 - _LINE_BITS) << _LINE_BITS)
    return f"batch_{ULID(value.to_bytes(16, 'big'))}"


def batch_job_id(batch_id: str, line: int) -> str:
    """Give the id of a batch's job; the scripts make the same."""
    digits = ""
    for _ in range(_LINE_DIGITS):
        line, digit = divmod(line, 32)
        digits = _CROCKFORD[digit] + digits
    return f"job_{batch_id.removeprefix('batch_')[:-_LINE_DIGITS]}{digits}"


def line_of(job_id: str) -> int:
    """Give the line that a batch's job came from."""
    line = 0
    for character in job_id[-_LINE_DIGITS:]:
        line = line * 32 + _CROCKFORD.index(character)
    return line


class BatchStore:
    """Batches. Every method raises redis' errors, which are retryable."""

    def __init__(self, redis: Redis, *, job_ttl_s: int = 604_800) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)
        self._ttl_ms = job_ttl_s * 1000

    async def begin(
        self,
        tenant: str,
        *,
        webhook: Webhook | None,
        metadata: dict[str, str],
        idempotency_key: str | None,
        max_queued: int,
    ) -> Begun:
        """Begin an upload; nobody sees what is staged of it until it is linked.

        Raises:
            ConflictError: `idempotency_mismatch`, the key made a job. Permanent.
            LineFullError: retryable once jobs of the tenant have left the line.
            TooManyUploadsError: retryable once another upload of the tenant has ended.
        """
        batch_id = new_batch_id()
        key_hash = hashlib.sha256(idempotency_key.encode()).hexdigest()[:32] if idempotency_key else ""
        reply = await self.scripts.call(
            "begin_batch",
            batch_id,
            tenant,
            key_hash,
            IDEMPOTENCY_LIFE_MS,
            SILENCE_MS,
            self._ttl_ms,
            "" if webhook is None else webhook.model_dump_json(),
            orjson.dumps(metadata).decode(),
            max_queued,
            MOST_UPLOADS,
        )
        match int(reply[0]):
            case 1:
                return Begun("begun", batch_id)
            case 2:
                return Begun("replayed", str(reply[1]), str(reply[2]))
            case 3:
                return Begun("in_progress", "")
            case -1:
                raise ConflictError("idempotency_mismatch", "this Idempotency-Key was used for a job")
            case -2:
                raise LineFullError(f"{max_queued} jobs are waiting already")
            case -3:
                raise TooManyUploadsError(f"{MOST_UPLOADS} uploads of yours are under way already")
        raise AssertionError(f"begin_batch.lua answered {reply!r}")

    async def stage(self, batch_id: str, lines: Sequence[Line]) -> None:
        """Write some jobs of an upload; 200 lines or 512 kB at most, which keeps Redis for a few milliseconds.

        Raises:
            BatchGoneError: it is not being accepted any more.
        """
        flat = [
            part for line in lines for part in (line.number, line.images, line.priority, line.text, line.expires_ms)
        ]
        if int(await self.scripts.call("stage_lines", batch_id, SILENCE_MS, *flat)) < 0:
            raise BatchGoneError

    async def hear(self, batch_id: str) -> None:
        """Say that the upload goes on.

        Raises:
            BatchGoneError: it is not being accepted any more.
        """
        if int(await self.scripts.call("hear_uploader", batch_id, SILENCE_MS)) < 0:
            raise BatchGoneError

    async def drop(self, batch_id: str) -> None:
        """Give an upload up; what was staged goes, and its idempotency key is free again."""
        if int(await self.scripts.call("drop_batch", batch_id)):
            await self.sweep(batch_id, "drop")

    async def link(
        self,
        batch_id: str,
        *,
        fingerprint: str,
        max_queued: int,
        refuse_over_budget: bool = False,
        skipped: dict[str, Any] | None = None,
    ) -> bool:
        """Accept all of an upload at once; it survives every crash from the return on. True asks for a `dispatch`.

        Raises:
            BatchGoneError: it is not being accepted any more.
            LineFullError: retryable once jobs of the tenant have left the line.
            BudgetError: retryable once the budget resets, or permanent: it costs more than a whole budget.
        """
        reply = await self.scripts.call(
            "link_batch",
            batch_id,
            fingerprint,
            IDEMPOTENCY_LIFE_MS,
            max_queued,
            int(refuse_over_budget),
            "" if skipped is None else orjson.dumps(skipped).decode(),
        )
        match int(reply[0]):
            case 1:
                return bool(reply[1])
            case -1:
                raise BatchGoneError
            case -2:
                raise LineFullError(f"with this batch more than {max_queued} jobs would wait")
            case -3:
                message = f"the budget of a whole day, {usd(int(reply[1]))} USD, is less than the batch needs"
                raise BudgetError(message, resets_in_s=None)
            case -4:
                message = "what was spent today and what waits leave no room for it in today's budget"
                raise BudgetError(message, resets_in_s=int(reply[1]) / 1000)
            case -5:
                message = f"the budget of a batch, {usd(int(reply[1]))} USD, is less than the batch needs"
                raise BudgetError(message, resets_in_s=None)
        raise AssertionError(f"link_batch.lua answered {reply!r}")

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
