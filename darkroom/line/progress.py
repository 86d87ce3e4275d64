"""Whether the fleet gets on: each stage that is called for begins something, and what is due is looked at.

The scripts note when a stage was first called for in vain (`_1_progress.lua`); a stage is stuck when that is too long
ago and the call still stands. Paused, throttled, saturated and idle fleets call for nothing in vain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from darkroom.line.lanes import LaneStore
from darkroom.store import keys
from darkroom.store.connection import read_hash
from darkroom.store.room import full_problem

STUCK_AFTER_MS = {"dispatch": 30_000, "submit": 30_000, "store": 90_000, "notify": 90_000}
"""How long a call may stand. Messages that were lost are sent again after 60 s, admitted jobs after 10 s."""

CALL_LASTS_MS = {"submit": 25_000, "store": 100_000, "notify": 100_000}
"""How long a call stands after it was last made; as in `_1_progress.lua`."""

LOOKS_BACK_MS = 300_000
"""How long a lane may admit nothing after a failover before that is wrong: several times what it takes."""

MOST_OVERDUE_MS = 60_000
SILENCE_MS = 30_000
WAITS = {
    "dispatch": "jobs wait and nothing looks at the line",
    "submit": "admitted jobs are not sent",
    "store": "paid outputs are not stored",
    "notify": "webhooks are not sent",
}


@dataclass(frozen=True, slots=True)
class Sign:
    """A worker's last sign of life: what it `serves` by its start, and what it `consumes` now."""

    name: str
    silent_ms: int
    serves: tuple[str, ...]
    consumes: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether it was given lately."""
        return self.silent_ms < SILENCE_MS


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at the whole cell."""

    depth: int
    overdue_ms: int
    signs: list[Sign]
    stuck: dict[str, str]
    """What to say of each stage that is stuck."""

    looks_back: str | None
    """What to say of lanes that admit nothing because another server answers than before."""

    @property
    def waits(self) -> str:
        """What there is to do; empty when there is nothing."""
        return f"{self.depth} jobs wait" if self.depth else "timers are due" if self.overdue_ms > SILENCE_MS else ""


async def look_at_progress(redis: Redis) -> Progress:
    """Read all that tells whether the fleet gets on; raises redis' errors."""
    lanes = LaneStore(redis)
    seconds, microseconds = await redis.time()
    now_ms = seconds * 1000 + microseconds // 1000
    first = await redis.zrange(keys.DUE, 0, 0, withscores=True)
    depth = (await lanes.depth())["depth"]
    signs = [_sign(name, sign, now_ms) for name, sign in (await lanes.workers()).items()]
    info: Any = await redis.info("memory")
    states = await lanes.states()
    admitting = full_problem(info) is None and any(lane.state != "paused" for lane in states)
    calls = await read_hash(redis, keys.PROGRESS)
    since = {name: int(at_ms) for name, at_ms in calls.items()}
    stuck = stuck_stages(since, depth=depth, admitting=admitting, now_ms=now_ms)
    said = {stage: _said(stage, ago_ms, signs) for stage, ago_ms in stuck.items()}
    ago_ms, looks_back = await _looks_back(redis, [lane.name for lane in states], now_ms) if depth else (0, None)
    if looks_back is not None and ago_ms > LOOKS_BACK_MS:
        said["server"] = looks_back
    return Progress(depth, max(0, now_ms - int(first[0][1])) if first else 0, signs, said, looks_back)


async def _looks_back(redis: Redis, lanes: list[str], now_ms: int) -> tuple[int, str | None]:
    """Say which lane has waited longest for the past of its server to be looked into, and how long (ms)."""
    waits = []
    for lane in lanes:
        noticed_ms = await redis.hget(keys.lane(lane), "server_noticed_ms")
        if noticed_ms is not None:
            waits.append((now_ms - int(str(noticed_ms)), lane))
    if not waits:
        return 0, None
    ago_ms, lane = max(waits)
    return ago_ms, (
        f"Redis was restarted or failed over: lane {lane} admits nothing for {ago_ms // 1000} s, until what was sent "
        "lately is listed (server.* in the workers' log)"
    )


def stuck_stages(calls: Mapping[str, int], *, depth: int, admitting: bool, now_ms: int) -> dict[str, int]:
    """Give the stages that are called for in vain, and since how long (ms)."""
    found = {}
    for stage, limit_ms in STUCK_AFTER_MS.items():
        called_ms = calls.get(f"{stage}_called_ms")
        if called_ms is None or now_ms - called_ms <= limit_ms:
            continue
        if stage in ("dispatch", "submit") and not admitting:
            continue
        stands = depth > 0 if stage == "dispatch" else now_ms - calls[f"{stage}_last_ms"] <= CALL_LASTS_MS[stage]
        if stands:
            found[stage] = now_ms - called_ms
    return found


def _said(stage: str, ago_ms: int, signs: list[Sign]) -> str:
    consumers = [sign.name for sign in signs if sign.alive and stage in sign.consumes]
    look = f"look at {', '.join(consumers[:3])}" if consumers else f"no worker consumes the queue {stage}"
    return f"{stage}: {WAITS[stage]} for {ago_ms // 1000} s; {look}"


def _sign(name: str, sign: Mapping[str, Any], now_ms: int) -> Sign:
    consumes = tuple(sign.get("queues", ()))
    return Sign(name, now_ms - int(sign["alive_at_ms"]), tuple(sign.get("serves", consumes)), consumes)
