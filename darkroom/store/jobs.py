"""What the ingress asks of the store: accept, read, list, cancel and retry jobs."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from redis.asyncio import Redis

from darkroom.errors import DarkroomError
from darkroom.ids import new_id
from darkroom.jobs import JobRequest, JobStatus, usd
from darkroom.store.packing import unpack
from darkroom.store.records import JobRecord
from darkroom.store.scripts import Scripts

ResolveAction = Literal["adopt", "resubmit", "give_up"]

IDEMPOTENCY_LIFE_MS = 48 * 3600 * 1000


class ConflictError(DarkroomError):
    """The job or key is not in a state that allows this; `code` says which way."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LineFullError(DarkroomError):
    """The tenant has as many jobs waiting as it may."""


class BudgetError(DarkroomError):
    """The tenant's budget has no room for the job: today (until `resets_in_s` have passed), or ever (None)."""

    def __init__(self, message: str, *, resets_in_s: float | None) -> None:
        super().__init__(message)
        self.resets_in_s = resets_in_s


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that is durable now. `wake` asks the caller to publish one `dispatch` message.

    `record` is the job as it was accepted, which saves reading it; None where only reading tells.
    """

    job_id: str
    replayed: bool
    wake: bool
    record: JobRecord | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """A job that goes on: `resumed` at no cost, or waiting for a new attempt."""

    resumed: bool
    wake: bool


def fingerprint(request: JobRequest) -> str:
    """Hash a request so that equal ones, however spelled, give the same text."""
    return hashlib.sha256(orjson.dumps(request.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


class JobStore:
    """Jobs as their owners see them. Every method is one round trip."""

    def __init__(self, redis: Redis, *, job_ttl_s: int = 604_800) -> None:
        self.scripts = Scripts.shared(redis)
        self.redis = redis
        self._ttl_ms = job_ttl_s * 1000

    async def enqueue(
        self,
        tenant: str,
        request: JobRequest,
        *,
        idempotency_key: str | None = None,
        max_queued: int = 1_000_000,
        refuse_over_budget: bool = False,
    ) -> Accepted:
        """Accept a job; it survives every crash from the return on (with Redis' own persistence).

        Over today's budget it waits for the next day, or is refused (`refuse_over_budget`).

        Raises:
            ConflictError: `idempotency_mismatch`, the key was used with another body. Permanent.
            LineFullError: retryable once jobs of the tenant have left the line.
            BudgetError: retryable once the budget resets, or permanent: it costs more than a whole day's.
        """
        job_id = new_id("job")
        key_hash = hashlib.sha256(idempotency_key.encode()).hexdigest()[:32] if idempotency_key else ""
        request_json = orjson.dumps(request.model_dump(mode="json", exclude_defaults=True)).decode()
        reply = await self.scripts.call(
            "enqueue",
            job_id,
            tenant,
            request.max_images,
            request.priority,
            request_json,
            (request.expires_in or 0) * 1000,
            key_hash,
            fingerprint(request) if key_hash else "",
            max(IDEMPOTENCY_LIFE_MS, 0),
            max_queued,
            self._ttl_ms,
            int(refuse_over_budget),
        )
        match int(reply[0]):
            case 1:
                record = _accepted(job_id, tenant, request, request_json, reply[2:])
                return Accepted(job_id, replayed=False, wake=bool(reply[1]), record=record)
            case 2:
                return Accepted(str(reply[1]), replayed=True, wake=False)
            case -1:
                raise ConflictError("idempotency_mismatch", "this Idempotency-Key was used with another body")
            case -2:
                raise LineFullError(f"{max_queued} jobs are waiting already")
            case -3:
                price, cap = usd(request.max_images), usd(int(reply[1]))
                raise BudgetError(f"it costs {price} USD, and the budget of a whole day is {cap} USD", resets_in_s=None)
            case -4:
                message = "what was spent today and what waits leave no room for it in today's budget"
                raise BudgetError(message, resets_in_s=int(reply[1]) / 1000)
        raise AssertionError(f"enqueue.lua answered {reply!r}")

    async def read(self, job_id: str) -> JobRecord | None:
        """Read a job; None when there is none (any more)."""
        return _record(job_id, await self.scripts.call("read_job", job_id))

    async def read_many(self, job_ids: list[str]) -> list[JobRecord]:
        """Read several jobs in one round trip, leaving out those that are gone."""
        replies = await self.scripts.call_all([("read_job", (job_id,)) for job_id in job_ids])
        records = []
        for job_id, reply in zip(job_ids, replies, strict=True):
            record = _record(job_id, reply)
            if record is not None:
                records.append(record)
        return records

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job; False: its submit is under way, and it is canceled once that is settled.

        Raises:
            KeyError: no such job.
            ConflictError: `already_finished`.
        """
        match await self.scripts.call("cancel", job_id, secrets.token_hex(8)):
            case 1:
                return True
            case 2:
                return False
            case -1:
                raise KeyError(job_id)
            case -2:
                raise ConflictError("already_finished", "the job has finished")
        raise AssertionError("cancel.lua gave an unknown code")

    async def retry(self, job_id: str, *, fresh: bool = False) -> Retried:
        """Let a failed, canceled or expired job go on; `fresh` forces a new attempt, which costs again.

        Raises:
            KeyError: no such job.
            ConflictError: `not_retryable` or `submit_unconfirmed`.
        """
        reply = await self.scripts.call("retry", job_id, int(fresh), secrets.token_hex(8))
        match int(reply[0]):
            case 1:
                return Retried(resumed=False, wake=bool(reply[1]))
            case 3:
                return Retried(resumed=True, wake=False)
            case -1:
                raise KeyError(job_id)
            case -2:
                raise ConflictError("not_retryable", "only a failed, canceled or expired job can be retried")
            case -3:
                raise ConflictError("submit_unconfirmed", "the last submit is not settled; an operator resolves it")
        raise AssertionError("retry.lua gave an unknown code")

    async def resolve(self, job_id: str, action: ResolveAction, *, prediction_id: str = "", by: str) -> bool:
        """Settle a submit that was left open, as an operator (`by`) says; True asks for a `dispatch` message.

        Raises:
            KeyError: no such job.
            ConflictError: `nothing_to_resolve`, `prediction_owned` or `job_canceled`.
        """
        message = f"the answer to the submit was lost, it may have been paid; given up by {by}"
        reply = await self.scripts.call("resolve", job_id, action, prediction_id, message, secrets.token_hex(8))
        match int(reply[0]):
            case 1:
                return bool(reply[1])
            case -1:
                raise KeyError(job_id)
            case -2:
                raise ConflictError("nothing_to_resolve", "only a job that ended submit_unconfirmed can be resolved")
            case -3:
                raise ConflictError("prediction_owned", "the prediction belongs to another job")
            case -4:
                raise ConflictError("job_canceled", "its owner canceled the job: adopt its prediction, or give it up")
        raise AssertionError("resolve.lua gave an unknown code")


def _record(job_id: str, reply: list[Any]) -> JobRecord | None:
    """Read the reply of `read_job.lua`, of a compacted job as well; None when there is no such job."""
    return unpack(job_id, str(reply[0])) if len(reply) == 1 else JobRecord.from_reply(job_id, reply)


def _accepted(job_id: str, tenant: str, request: JobRequest, text: str, reply: list[Any]) -> JobRecord | None:
    """Build the record that `enqueue.lua` has just written, as far as its owner sees it."""
    if not reply:
        return None
    job = {
        "tenant": tenant,
        "status": JobStatus.QUEUED.value,
        "attempt": "1",
        "images": str(request.max_images),
        "priority": request.priority,
        "request": text,
        "queued_ms": str(reply[0]),
    }
    return JobRecord(job_id, job, {}, place=int(reply[1]), held=reply[2] or None)
