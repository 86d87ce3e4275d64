"""Moves jobs as the workers would, one step at a time, so that a test decides what has happened."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from redis.asyncio import Redis

from darkroom.jobs import JobError
from darkroom.line.lanes import DEFAULT_LANE, LaneStore
from darkroom.line.line import Line
from darkroom.store import keys
from darkroom.store.attempts import AttemptStore, Ticket
from darkroom.store.connection import connect
from darkroom.store.deliveries import DeliveryStore
from darkroom.store.jobs import JobStore
from darkroom.timers import Timers

T = TypeVar("T")
LEASE_MS = 60_000


class ByHand:
    """A worker without a loop of its own."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url

    def open_lane(self) -> None:
        """Make the one lane known, wide open."""

        async def step(redis: Redis) -> None:
            await LaneStore(redis).configure(
                DEFAULT_LANE, images_per_minute=5_000, max_concurrency=5_000, rate_cost="images"
            )

        self._do(step)

    def end_delivery(self, job_id: str, status: str, *, heard: str = "up") -> str:
        """Attempt the newest webhook of a job, which ends it so, and give the delivery."""

        async def step(redis: Redis) -> str:
            deliveries = DeliveryStore(redis)
            delivery_id = str(await redis.hget(keys.job(job_id), "deliveries")).rpartition(",")[2]
            record = await deliveries.read(delivery_id)
            assert record is not None
            claimed = await deliveries.claim(delivery_id, record["lease"], lease_ms=LEASE_MS)
            assert claimed is not None
            assert await deliveries.settle(claimed, status, next_in_ms=None, attempts=[], heard=heard)
            return delivery_id

        return self._do(step)

    def sweep(self) -> None:
        """Let the timers go off that are due, as a worker's poller does."""

        async def step(redis: Redis) -> None:
            await Timers(redis).lease_due(most=100, look_ms=LEASE_MS, message_ms=LEASE_MS, check_ms=LEASE_MS)

        self._do(step)

    def admit(self, job_id: str) -> None:
        """Let the next job go, which must be this one."""
        self.open_lane()

        async def step(redis: Redis) -> None:
            admission = await Line(redis).admit(DEFAULT_LANE, most=1, lease_ms=LEASE_MS, max_unstored=10_000)
            assert [ticket.job_id for ticket in admission.tickets] == [job_id], admission

        self._do(step)

    def submit(self, job_id: str) -> None:
        """Go as far as the send that is under way."""
        self.admit(job_id)

        async def step(redis: Redis) -> None:
            ticket = await self._ticket(redis, job_id)
            assert await AttemptStore(redis).begin_submit(ticket, lease_ms=LEASE_MS, sync_lease_ms=LEASE_MS, key="k")

        self._do(step)

    def generate(self, job_id: str, prediction_id: str = "prediction-1") -> None:
        """Go as far as a prediction that is running."""
        self.submit(job_id)

        async def step(redis: Redis) -> None:
            ticket = await self._ticket(redis, job_id)
            sends = int(str(await redis.hget(keys.attempt(job_id, ticket.attempt), "sends")))
            moved = await AttemptStore(redis).accepted(
                ticket, send=sends, prediction_id=prediction_id, look_in_ms=LEASE_MS
            )
            assert moved == 1

        self._do(step)

    def fail(self, job_id: str, code: str = "upstream_failed", *, moved: int = 1) -> None:
        """Let the prediction that is running fail for good; `moved` is what the store is to answer."""

        async def step(redis: Redis) -> None:
            error = JobError(code=code, message="it failed", retryable=True)
            assert await AttemptStore(redis).failed(await self._ticket(redis, job_id), error) == moved

        self._do(step)

    def leave_open(self, job_id: str) -> None:
        """Lose the answer to the submit, and find nothing that settles it."""
        self.submit(job_id)

        async def step(redis: Redis) -> None:
            attempts = AttemptStore(redis)
            await attempts.unknown(await self._ticket(redis, job_id), look_in_ms=LEASE_MS, message="reset")
            error = JobError(code="submit_unconfirmed", message="nobody knows", retryable=False)
            assert await attempts.failed(await self._ticket(redis, job_id), error) == 1

        self._do(step)

    def complete(self, job_id: str, object_keys: list[str]) -> None:
        """Let the prediction that is running complete, with outputs that are said to be at these keys."""

        async def step(redis: Redis) -> None:
            attempts = AttemptStore(redis)
            await attempts.hand_over(
                await self._ticket(redis, job_id), sources="[]", inference_ms=900, polls=3, wait_ms=LEASE_MS
            )
            claim = await attempts.claim_store(await self._ticket(redis, job_id), lease_ms=LEASE_MS)
            assert claim is not None
            for index, key in enumerate(object_keys):
                output = {"index": index, "bucket": "b", "key": key, "content_type": "image/png", "bytes": 3}
                output |= {"sha256": "0" * 64, "width": 2048, "height": 2048, "nsfw": None}
                await attempts.save_output(claim.ticket, index, json.dumps(output))
            moved = await attempts.complete(claim.ticket, delivered=len(object_keys), finished_ms=claim.now_ms)
            assert moved == 1

        self._do(step)

    def cancel(self, job_id: str) -> None:
        """Cancel the job beside the API's back."""

        async def step(redis: Redis) -> None:
            await JobStore(redis).cancel(job_id)

        self._do(step)

    async def _ticket(self, redis: Redis, job_id: str) -> Ticket:
        number = int(str(await redis.hget(keys.job(job_id), "attempt")))
        lease = int(str(await redis.hget(keys.attempt(job_id, number), "lease")))
        return Ticket(job_id, number, lease)

    def _do(self, step: Callable[[Redis], Awaitable[T]]) -> T:
        async def connected() -> T:
            async with aclosing(connect(self._url)) as redis:
                return await step(redis)

        return asyncio.run(connected())
