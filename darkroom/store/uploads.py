"""Uploads: a batch on its way in, staged out of sight in bounded pieces and linked into the line at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from redis.asyncio import Redis

from darkroom.jobs import JobRequest, Webhook, usd
from darkroom.store.batch_ids import new_batch_id
from darkroom.store.batches import BatchStore
from darkroom.store.jobs import IDEMPOTENCY_LIFE_MS, BudgetError, ConflictError, LineFullError
from darkroom.store.scripts import Scripts

MOST_JOBS = 50_000
MOST_LINES = 1_000_000
"""Lines of an upload, blank ones included: what fits the part of a job's id that is its line."""

SILENCE_MS = 15_000
"""How long an uploader may be silent before its batch may be begun anew; after twice that it is dropped."""

MOST_UPLOADS = 8
"""Uploads of a tenant at once: what is staged counts against no other limit."""


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


class UploadStore:
    """Uploads. Every method raises redis' errors, which are retryable."""

    def __init__(self, redis: Redis, *, job_ttl_s: int = 604_800) -> None:
        self._scripts = Scripts.shared(redis)
        self._batches = BatchStore(redis)
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
        reply = await self._scripts.call(
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
        flat = [part for line in lines for part in line.flat]
        if int(await self._scripts.call("stage_lines", batch_id, SILENCE_MS, *flat)) < 0:
            raise BatchGoneError

    async def hear(self, batch_id: str) -> None:
        """Say that the upload goes on.

        Raises:
            BatchGoneError: it is not being accepted any more.
        """
        if int(await self._scripts.call("hear_uploader", batch_id, SILENCE_MS)) < 0:
            raise BatchGoneError

    async def drop(self, batch_id: str) -> None:
        """Give an upload up; what was staged goes, and its idempotency key is free again."""
        if int(await self._scripts.call("drop_batch", batch_id)):
            await self._batches.sweep(batch_id, "drop")

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
        reply = await self._scripts.call(
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
