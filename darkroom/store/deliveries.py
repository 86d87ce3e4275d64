"""The outbox as its owners and the `notify` stage see it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

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
    secrets: tuple[str, ...] = field(default=(), repr=False)
    operators_sign: bool = True

    def signed_with(self, operators: Sequence[str]) -> list[str]:
        """Give what signs it: the tenant's own secrets, newest first, then the operator's where they (still) do."""
        return [*self.secrets, *(operators if self.operators_sign else ())]

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """What was tried before, oldest first."""
        attempts: list[dict[str, Any]] = orjson.loads(self.delivery.get("attempts", "[]"))
        return attempts


_AUTHORITY = re.compile(r"[A-Za-z]+://([^/?#\\]*)")


@dataclass(frozen=True, slots=True)
class Settled:
    """What recording an attempt did: `breaker` changed so, and `freed` other deliveries may go to that host now."""

    breaker: Literal["opened", "closed", ""]
    freed: int


@dataclass(frozen=True, slots=True)
class HostState:
    """A receiver's host as a tenant's breaker sees it. Times in ms, server time."""

    host: str
    tenant: str
    breaker: Literal["closed", "open", "half_open"]
    failing_since_ms: int | None
    next_probe_ms: int | None
    flying: int
    waiting: int


class DeliveryStore:
    """Deliveries: claim one, settle one, list a job's, send one again; and the hosts they go to."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def claim(self, delivery_id: str, lease: str, *, lease_ms: int) -> ClaimedDelivery | None:
        """Take a delivery for one attempt; None: somebody else has it, or it is settled."""
        reply = await self.scripts.call("claim_delivery", delivery_id, lease, lease_ms)
        if int(reply[0]) != 1:
            return None
        _, taken, now_ms, delivery, event, secrets, operators_sign = reply
        return ClaimedDelivery(
            delivery_id,
            str(taken),
            int(now_ms),
            pairs(delivery),
            pairs(event),
            tuple(secrets),
            bool(operators_sign),
        )

    async def settle(
        self,
        claimed: ClaimedDelivery,
        status: str,
        *,
        next_in_ms: int | None,
        attempts: list[dict[str, Any]],
        heard: str = "up",
    ) -> Settled | None:
        """Record an attempt; None: the lease was lost and somebody else's record stands.

        `heard` is what it says of the host: `up`, `failed`, or empty where it was not asked.
        """
        reply = await self.scripts.call(
            "settle_delivery",
            claimed.delivery_id,
            claimed.lease,
            status,
            "" if next_in_ms is None else next_in_ms,
            orjson.dumps(attempts).decode(),
            heard,
        )
        return Settled(reply[1], int(reply[2])) if int(reply[0]) == 1 else None

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
        """Send a delivery again with the same event id; False: it is not kept any more.

        While an attempt is under way that one's end decides: it is sent again unless it was delivered.
        """
        return int(await self.scripts.call("redeliver", delivery_id)) >= 0

    async def hosts(self) -> list[HostState]:
        """Give the hosts that fail or that deliveries wait for, by name and tenant."""
        reply = await self.scripts.call("report_hosts")
        return sorted((_host_state(*row) for row in reply), key=lambda state: (state.host, state.tenant))


def host_of(url: str) -> str:
    """Give host and port of a URL as the scripts name them: as they stand there, in small letters."""
    authority = _AUTHORITY.match(url)
    return authority[1].rpartition("@")[2].lower() if authority else ""


def _host_state(
    host: str, tenant: str, since_ms: str, until_ms: str, probing: int, flying: int, waiting: int
) -> HostState:
    breaker: Literal["closed", "open", "half_open"] = "closed"
    if until_ms:
        breaker = "half_open" if int(probing) else "open"
    return HostState(
        host,
        tenant,
        breaker,
        int(since_ms) if since_ms else None,
        int(until_ms) if breaker == "open" and int(waiting) else None,
        int(flying),
        int(waiting),
    )
