"""Lanes (upstream accounts): their limits, their state, and what the line looks like."""

from dataclasses import dataclass
from typing import Any, Literal

import orjson
from redis.asyncio import Redis

from darkroom.store import keys
from darkroom.store.connection import read_hash, read_set
from darkroom.store.scripts import Scripts

DEFAULT_LANE = "default"
PauseReason = Literal["auth", "balance", "upstream", "storage", "operator"]


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane as `/v1/status` shows it. `resumes_at_ms` is the next probe of a paused lane."""

    name: str
    state: Literal["open", "throttled", "paused"]
    reason: str | None
    images_per_minute: int
    max_concurrency: int
    in_flight: int
    images_last_minute: int
    resumes_at_ms: int | None


class LaneStore:
    """Reads and changes lanes."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def configure(self, name: str, *, images_per_minute: int, max_concurrency: int, rate_cost: str) -> None:
        """Make a lane known, or change its limits while it runs."""
        await self.scripts.call("lane_configure", name, images_per_minute, max_concurrency, rate_cost)

    async def pause(self, name: str, reason: PauseReason, *, probe_s: float = 0) -> bool:
        """Stop admission; True when that changed anything. With `probe_s`, workers try the lane again after it."""
        return int(await self.scripts.call("lane_state", name, "paused", reason, int(probe_s * 1000))) == 1

    async def resume(self, name: str) -> bool:
        """Open a lane that paused by itself or that an operator paused; True when that changed anything."""
        return int(await self.scripts.call("lane_state", name, "open", "operator", 0)) == 1

    async def probe_again(self, name: str, *, probe_s: float) -> None:
        """Leave a paused lane as it is and have it tried again after a while."""
        await self.scripts.call("lane_state", name, "paused", "same", int(probe_s * 1000))

    async def reopen(self, name: str) -> bool:
        """Open a lane that paused by itself; an operator's pause stands. True when that changed anything."""
        return int(await self.scripts.call("lane_state", name, "open", "", 0)) == 1

    async def slow(self, name: str, *, wait_s: float, job_id: str, cost: int) -> int:
        """Wait and go on at a lower pace; gives how often a job too heavy for the account was refused alone."""
        return int(await self.scripts.call("lane_slow", name, int(wait_s * 1000), job_id, cost))

    async def report_failure(self, name: str, job_id: str) -> bool:
        """Count a job that met a failing upstream; True when three different ones in a row have."""
        return int(await self.scripts.call("lane_report", name, job_id)) == 1

    async def names(self) -> list[str]:
        """Give the known lanes."""
        return await read_set(self.redis, keys.LANES)

    async def states(self) -> list[LaneState]:
        """Give every lane as it is now."""
        names = await self.names()
        seconds, microseconds = await self.redis.time()
        now_ms = seconds * 1000 + microseconds // 1000
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(keys.lane(name))
            pipe.zcount(keys.slots(name), f"({now_ms}", "+inf")
            pipe.zrangebyscore(keys.sends(name), f"({now_ms}", "+inf")
        replies = await pipe.execute()
        return [
            _state(name, replies[3 * i], replies[3 * i + 1], replies[3 * i + 2], now_ms) for i, name in enumerate(names)
        ]

    async def depth(self) -> dict[str, Any]:
        """Count who waits: `{depth, tenants: [{tenant, depth, by_priority}]}`."""
        counts = {name: int(count) for name, count in (await read_hash(self.redis, keys.DEPTH)).items()}
        tenants: dict[str, dict[str, int]] = {}
        for name, count in counts.items():
            tenant, _, priority = name.partition("|")
            if tenant != "*":
                tenants.setdefault(tenant, {"high": 0, "normal": 0, "low": 0})[priority] = count
        shown = [
            {"tenant": tenant, "depth": sum(by_priority.values()), "by_priority": by_priority}
            for tenant, by_priority in sorted(tenants.items())
        ]
        return {"depth": counts.get("*|jobs", 0), "tenants": shown}

    async def sign_of_life(self, worker: str, sign: dict[str, Any], *, forget_after_s: float) -> int:
        """Note that a worker lives (`sign` holds `alive_at_ms`); gives how many others were dropped as long gone."""
        text = orjson.dumps(sign).decode()
        return int(await self.scripts.call("sign_of_life", worker, text, int(forget_after_s * 1000)))

    async def workers(self) -> dict[str, dict[str, Any]]:
        """Give each worker's last sign of life: `{alive_at_ms, queues, …}` by name."""
        raw = await read_hash(self.redis, keys.WORKERS)
        return {name: orjson.loads(value) for name, value in sorted(raw.items())}


def _state(name: str, lane: dict[str, str], in_flight: int, sends: list[str], now_ms: int) -> LaneState:
    paused = lane.get("state") == "paused"
    slowed = int(lane.get("not_before_ms", 0)) > now_ms or float(lane.get("pace", 1)) < 1
    return LaneState(
        name=name,
        state="paused" if paused else "throttled" if slowed else "open",
        reason=lane.get("reason") if paused else None,
        images_per_minute=int(lane["images_per_minute"]),
        max_concurrency=int(lane["max_concurrency"]),
        in_flight=in_flight,
        images_last_minute=sum(int(ref.partition(":")[0]) for ref in sends),
        resumes_at_ms=int(lane["resumes_ms"]) if paused and lane.get("resumes_ms") else None,
    )
