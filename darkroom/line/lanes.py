"""Lanes (upstream accounts): their limits, their state, and what the line looks like."""

from dataclasses import dataclass
from typing import Any, Literal

import orjson
from redis.asyncio import Redis

from darkroom.store import keys
from darkroom.store.attempts import Ticket
from darkroom.store.connection import read_hash, read_set
from darkroom.store.scripts import Scripts

DEFAULT_LANE = "default"
PauseReason = Literal["auth", "balance", "upstream", "storage", "operator"]
ProbedReason = Literal["auth", "balance", "upstream", "storage"]

RECOVER_MS = 120_000
"""How long after its last refusal a lane is back at its full pace; `_6_lanes.lua` reckons with the same."""

AS_CONFIGURED = 0
"""In place of a limit: the one of the environment."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane as `/v1/status` shows it, its limits as they are in force and as the environment has them.

    `resumes_at_ms` is the next probe of a paused lane.
    """

    name: str
    state: Literal["open", "throttled", "paused"]
    reason: str | None
    images_per_minute: int
    max_concurrency: int
    configured_images_per_minute: int
    configured_max_concurrency: int
    in_flight: int
    images_last_minute: int
    resumes_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often an attempt was refused for what may be its own fault; `meets_others`: so were other jobs, pause now."""

    count: int
    meets_others: bool


@dataclass(frozen=True, slots=True)
class ServerChange:
    """A restart or failover whose lost writes are not looked into yet. Times in ms, the server's.

    `seen_ms` is when the server before is known to have been written to last; `noticed_ms` when the change was.
    """

    server: str
    seen_ms: int
    noticed_ms: int
    now_ms: int


class LaneStore:
    """Reads and changes lanes."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def configure(self, name: str, *, images_per_minute: int, max_concurrency: int, rate_cost: str) -> None:
        """Make a lane known with its configured limits; one that an operator changed stays until its setting does."""
        await self.scripts.call("lane_configure", name, images_per_minute, max_concurrency, rate_cost)

    async def change_limits(self, name: str, *, images_per_minute: int | None, max_concurrency: int | None) -> bool:
        """Change limits while the lane runs (None: as it is, `AS_CONFIGURED`); False: there is no such lane."""
        rate = "" if images_per_minute is None else images_per_minute
        concurrency = "" if max_concurrency is None else max_concurrency
        return int(await self.scripts.call("lane_limits", name, rate, concurrency)) == 1

    async def pause(self, name: str, reason: PauseReason, *, probe_s: float = 0) -> bool:
        """Stop admission; True when that changed anything. With `probe_s`, workers try the lane again after it."""
        return int(await self.scripts.call("lane_state", name, "paused", reason, int(probe_s * 1000))) == 1

    async def resume(self, name: str) -> bool:
        """Open a lane that paused by itself or that an operator paused; True when that changed anything."""
        return int(await self.scripts.call("lane_state", name, "open", "operator", 0)) == 1

    async def probe_again(self, name: str, *, probe_s: float) -> None:
        """Leave a paused lane as it is and have it tried again after a while."""
        await self.scripts.call("lane_state", name, "paused", "same", int(probe_s * 1000))

    async def reopen(self, name: str, was: ProbedReason) -> bool:
        """Open a lane whose own reason to pause is over; one that paused for another meanwhile stays as it is."""
        return int(await self.scripts.call("lane_state", name, "open", was, 0)) == 1

    async def try_one(self, name: str, *, probe_s: float) -> bool:
        """Let one job go of a lane without balance, and again ever later; True when the lane still is one."""
        return int(await self.scripts.call("lane_trial", name, int(probe_s * 1000))) == 1

    async def images_at_turn(self) -> int | None:
        """Give how many images the job at its turn asks for; None: nobody waits."""
        reply = await self.scripts.call("line_next")
        return int(reply[1]) if reply else None

    async def slow(self, name: str, ticket: Ticket, *, wait_s: float, cost: int, send: int) -> int:
        """Wait and go on at a lower pace; gives how often in a row a job too heavy for the account was refused alone.

        To be called while the refused attempt is still `submitting`; repeated for the same send it changes no count.
        """
        wait_ms = int(wait_s * 1000)
        return int(await self.scripts.call("lane_slow", name, wait_ms, ticket.job_id, cost, ticket.attempt, send))

    async def count_refusal(self, name: str, ticket: Ticket, *, send: int) -> Refusals:
        """Count a refusal that may be the job's own fault. Called as `slow` is."""
        reply = await self.scripts.call("count_refusal", name, ticket.job_id, ticket.attempt, send)
        return Refusals(int(reply[0]), meets_others=int(reply[1]) == 1)

    async def report_failure(self, name: str, job_id: str) -> bool:
        """Count a job that met a failing upstream; True when three different ones in a row have."""
        return int(await self.scripts.call("lane_report", name, job_id, "failures")) == 1

    async def report_bucket_failure(self, name: str, job_id: str) -> bool:
        """Count a job whose outputs the bucket did not take; True when three different ones in a row were."""
        return int(await self.scripts.call("lane_report", name, job_id, "bucket_failures")) == 1

    async def server_change(self, name: str) -> "ServerChange | None":
        """Say what is known of the server that answers now, when it is another than the lane knows."""
        reply = await self.scripts.call("server_known", name, "")
        return None if int(reply[0]) == 1 else ServerChange(str(reply[1]), *(int(value) for value in reply[2:5]))

    async def server_known(self, name: str, server: str) -> bool:
        """Let the lane go on with this server; False: yet another one answers now."""
        return int((await self.scripts.call("server_known", name, server))[0]) == 1

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
        """Count who waits: `{depth, tenants: [{tenant, depth, by_priority, images, held}]}`."""
        counts = {name: int(count) for name, count in (await read_hash(self.redis, keys.DEPTH)).items()}
        held = await read_hash(self.redis, keys.HELD)
        tenants = sorted({name.partition("|")[0] for name in counts} - {"*"})
        shown = []
        for tenant in tenants:
            by_priority = {priority: counts.get(f"{tenant}|{priority}", 0) for priority in ("high", "normal", "low")}
            shown.append(
                {
                    "tenant": tenant,
                    "depth": sum(by_priority.values()),
                    "images": counts.get(f"{tenant}|images", 0),
                    "by_priority": by_priority,
                    "held": "budget" if tenant in held else None,
                }
            )
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
    slowed = max(int(lane.get("not_before_ms", 0)), int(lane.get("slowed_ms", -RECOVER_MS)) + RECOVER_MS) > now_ms
    rate, concurrency = int(lane["images_per_minute"]), int(lane["max_concurrency"])
    return LaneState(
        name=name,
        state="paused" if paused else "throttled" if slowed else "open",
        reason=lane.get("reason") if paused else None,
        images_per_minute=rate,
        max_concurrency=concurrency,
        configured_images_per_minute=int(lane.get("configured_images_per_minute", rate)),
        configured_max_concurrency=int(lane.get("configured_max_concurrency", concurrency)),
        in_flight=in_flight,
        images_last_minute=sum(int(ref.partition(":")[0]) for ref in sends),
        resumes_at_ms=int(lane["resumes_ms"]) if paused and lane.get("resumes_ms") else None,
    )
