"""The outbox as its owners and the `notify` stage see it."""

from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from darkroom.store import keys
from darkroom.store.connection import read_hash
from darkroom.store.records import pairs
from darkroom.store.scripts import Scripts


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that the holder of `lease` may attempt; `now_ms` is the server's time of the claim."""

    delivery_id: str
    lease: str
    now_ms: int
    delivery: dict[str, str]
    event: dict[str, str]

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """What was tried before, oldest first."""
        attempts: list[dict[str, Any]] = orjson.loads(self.delivery.get("attempts", "[]"))
        return attempts


class DeliveryStore:
    """Deliveries: claim one, settle one, list a job's, send one again."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def claim(self, delivery_id: str, lease: str, *, lease_ms: int) -> ClaimedDelivery | None:
        """Take a delivery for one attempt; None: somebody else has it, or it is settled."""
        reply = await self.scripts.call("claim_delivery", delivery_id, lease, lease_ms)
        if int(reply[0]) != 1:
            return None
        return ClaimedDelivery(delivery_id, str(reply[1]), int(reply[2]), pairs(reply[3]), pairs(reply[4]))

    async def settle(
        self, claimed: ClaimedDelivery, status: str, *, next_in_ms: int | None, attempts: list[dict[str, Any]]
    ) -> bool:
        """Record an attempt; False: the lease was lost and somebody else's record stands."""
        done = await self.scripts.call(
            "settle_delivery",
            claimed.delivery_id,
            claimed.lease,
            status,
            "" if next_in_ms is None else next_in_ms,
            orjson.dumps(attempts).decode(),
        )
        return int(done) == 1

    async def of_job(self, job: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
        """Give the deliveries of a job's record that are still kept, oldest first."""
        ids = [delivery_id for delivery_id in job.get("deliveries", "").split(",") if delivery_id]
        pipe = self.redis.pipeline(transaction=False)
        for delivery_id in ids:
            pipe.hgetall(keys.delivery(delivery_id))
        records = await pipe.execute() if ids else []
        return [(delivery_id, record) for delivery_id, record in zip(ids, records, strict=True) if record]

    async def read(self, delivery_id: str) -> dict[str, str] | None:
        """Read one delivery's record; None when there is none."""
        return await read_hash(self.redis, keys.delivery(delivery_id)) or None

    async def redeliver(self, delivery_id: str) -> bool:
        """Send a delivery again with the same event id; False: it is not kept any more."""
        return int(await self.scripts.call("redeliver", delivery_id)) >= 0
