"""Deliveries that reached nobody: found again by tenant, time and host, and sent again all at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from darkroom.store import keys
from darkroom.store.deliveries import host_of
from darkroom.store.scripts import Scripts

PAGE = 200
MOST_LOOKED_AT = 2_000
Status = Literal["exhausted", "gone"]
STATUSES: tuple[Status, ...] = ("exhausted", "gone")
Found = list[tuple[str, dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which ones: ended at `since_ms` or later (server time), to `host` (with or without its port; None: any)."""

    since_ms: int = 0
    host: str | None = None
    statuses: Sequence[Status] = STATUSES

    def covers(self, record: dict[str, str]) -> bool:
        """Whether a delivery's record is one of them."""
        if record.get("status") not in self.statuses:
            return False
        host = host_of(record["url"])
        return self.host is None or self.host.lower() in (host, _without_port(host))


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last one that was looked at; the order is by tenant, then by when it ended, then by id."""

    tenant: str
    settled_ms: int
    delivery_id: str


class UndeliveredStore:
    """What reached nobody. Every method raises redis' errors, which are retryable."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def page(
        self, tenants: Iterable[str], wanted: Wanted, *, limit: int, cursor: Cursor | None = None
    ) -> tuple[Found, Cursor | None]:
        """Give at most `limit` of these tenants' deliveries, and where to go on (None: that was all).

        A page looks at 2,000 deliveries at most, and may be short, or empty, although others follow.
        """
        found: Found = []
        looked = 0
        for tenant in sorted(tenants):
            if cursor is not None and tenant < cursor.tenant:
                continue
            place: Cursor | None = Cursor(tenant, wanted.since_ms, "")
            if cursor is not None and tenant == cursor.tenant:
                place = cursor
            while place is not None:
                some, ends, after = await self._slice(place, wanted, PAGE)
                room = limit - len(found)
                found += some[:room]
                looked += PAGE
                if len(some) >= room:
                    return found, ends[room - 1]
                if after is not None and looked >= MOST_LOOKED_AT:
                    return found, after
                place = after
        return found, None

    async def recover(self, tenants: Iterable[str], wanted: Wanted) -> int:
        """Send all of them again that ended by now; gives how many. It may be repeated: the rest is found then."""
        seconds, microseconds = await self.redis.time()
        now_ms = seconds * 1000 + microseconds // 1000
        recovered = 0
        for tenant in tenants:
            place: Cursor | None = Cursor(tenant, wanted.since_ms, "")
            while place is not None and place.settled_ms <= now_ms:
                found, _, place = await self._slice(place, wanted, PAGE)
                answers = await self.scripts.call_all([("redeliver", (delivery_id,)) for delivery_id, _ in found])
                recovered += sum(int(answer) >= 0 for answer in answers)
        return recovered

    async def count(self, tenants: Sequence[str]) -> int:
        """Count all that are still kept."""
        pipe = self.redis.pipeline(transaction=False)
        for tenant in tenants:
            pipe.zcard(keys.undelivered(tenant))
        return sum(await pipe.execute()) if tenants else 0

    async def _slice(self, place: Cursor, wanted: Wanted, most: int) -> tuple[Found, list[Cursor], Cursor | None]:
        """Look at the next few after a place; gives those wanted, their places, and the new one (None: the end)."""
        key = keys.undelivered(place.tenant)
        at_once = int(await self.redis.zcount(key, place.settled_ms, place.settled_ms)) if place.delivery_id else 0
        entries: Any = await self.redis.zrangebyscore(
            key, place.settled_ms, "+inf", start=0, num=at_once + most, withscores=True
        )
        last = (place.settled_ms, place.delivery_id)
        rest = [(int(score), str(name)) for name, score in entries if (int(score), str(name)) > last]
        pipe = self.redis.pipeline(transaction=False)
        for _, delivery_id in rest[:most]:
            pipe.hgetall(keys.delivery(delivery_id))
        records = await pipe.execute() if rest else []
        found: Found = []
        ends: list[Cursor] = []
        for (settled_ms, name), record in zip(rest[:most], records, strict=True):
            if wanted.covers(record):
                found.append((name, record))
                ends.append(Cursor(place.tenant, settled_ms, name))
        if len(rest) <= most and len(entries) < at_once + most:
            return found, ends, None
        settled_ms, delivery_id = rest[:most][-1]
        return found, ends, Cursor(place.tenant, settled_ms, delivery_id)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
