"""Whether this service can take jobs and get them done: Redis, the bucket, the workers, and progress."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from darkroom.errors import RetryableError
from darkroom.line.lanes import LaneState, LaneStore
from darkroom.storage.bucket import Bucket
from darkroom.store import keys
from darkroom.store.durability import SECTIONS, UNKNOWN_SYNC, persistence_warning, problem
from darkroom.store.room import full_problem

CACHE_S = 2.0
CHECK_TIMEOUT_S = 4.0
WORKER_SILENCE_MS = 30_000
MOST_OVERDUE_MS = 60_000
MOST_IDLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `said` names what is wrong, or what is worth knowing although nothing is."""

    ok: bool
    said: str | None = None

    def body(self) -> dict[str, Any]:
        """Show it."""
        shown: dict[str, Any] = {"ok": self.ok}
        if self.said is not None:
            shown["detail" if not self.ok else "warning"] = self.said
        return shown


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one look."""

    checks: dict[str, Check]

    @property
    def ready(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.ok for check in self.checks.values())

    def body(self) -> dict[str, Any]:
        """Show it."""
        return {
            "status": "ready" if self.ready else "not_ready",
            "checks": {name: check.body() for name, check in self.checks.items()},
        }


class Readiness:
    """Looks at most once in two seconds, whoever asks how often."""

    def __init__(self, redis: Redis, bucket: Bucket) -> None:
        self._redis = redis
        self._bucket = bucket
        self._lanes = LaneStore(redis)
        self._lock = asyncio.Lock()
        self._report: Report | None = None
        self._good_until = 0.0
        self._idle_since: float | None = None

    async def report(self) -> Report:
        """Give the latest look, or take one."""
        async with self._lock:
            if self._report is None or time.monotonic() >= self._good_until:
                self._report = await self._look()
                self._good_until = time.monotonic() + CACHE_S
            return self._report

    async def _look(self) -> Report:
        store, bucket = await asyncio.gather(self._look_at_store(), self._look_at_bucket())
        return Report({"redis": store["redis"], "bucket": bucket, **store})

    async def _look_at_bucket(self) -> Check:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self._bucket.check()
        except RetryableError as error:
            return Check(False, str(error))
        except TimeoutError:
            return Check(False, f"bucket {self._bucket.name} gave no answer in {CHECK_TIMEOUT_S:g} s")
        return Check(True)

    async def _look_at_store(self) -> dict[str, Check]:
        unknown = Check(False, "not known while Redis can't be reached")
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                return {"redis": await self._look_at_server(), **await self._look_at_work()}
        except (RedisError, TimeoutError, OSError) as error:
            redis = Check(False, f"Redis can't be reached or does not answer ({type(error).__name__})")
            return {"redis": redis, "workers": unknown, "progress": unknown}

    async def _look_at_server(self) -> Check:
        info: dict[str, Any] = await self._redis.info(*SECTIONS)
        wrong = problem(info) or full_problem(info)
        if wrong is not None:
            return Check(False, wrong)
        try:
            appendfsync = (await self._redis.config_get("appendfsync")).get("appendfsync", UNKNOWN_SYNC)
        except ResponseError:
            appendfsync = UNKNOWN_SYNC
        return Check(True, persistence_warning(info, str(appendfsync)))

    async def _look_at_work(self) -> dict[str, Check]:
        seconds, microseconds = await self._redis.time()
        now_ms = seconds * 1000 + microseconds // 1000
        first = await self._redis.zrange(keys.DUE, 0, 0, withscores=True)
        depth = (await self._lanes.depth())["depth"]
        workers = await self._lanes.workers()
        alive = [name for name, sign in workers.items() if now_ms - int(sign["alive_at_ms"]) < WORKER_SILENCE_MS]
        overdue_ms = max(0, now_ms - int(first[0][1])) if first else 0
        waits = f"{depth} jobs wait" if depth else "timers are due" if overdue_ms > WORKER_SILENCE_MS else ""
        if not alive:
            said = "no worker has given a sign of life for 30 s"
            return {
                "workers": Check(not waits, said),
                "progress": Check(not waits, f"{waits}, and no worker is there" if waits else None),
            }
        return {"workers": Check(True), "progress": self._progress(depth, overdue_ms, await self._lanes.states())}

    def _progress(self, depth: int, overdue_ms: int, lanes: list[LaneState]) -> Check:
        idle = [lane for lane in lanes if lane.state == "open" and not lane.in_flight and not lane.images_last_minute]
        stuck = depth > 0 and len(idle) > 0
        self._idle_since = (self._idle_since or time.monotonic()) if stuck else None
        if overdue_ms > MOST_OVERDUE_MS:
            return Check(False, f"the oldest timer is {overdue_ms // 1000} s overdue: no worker looks at what is due")
        if self._idle_since is not None and time.monotonic() - self._idle_since > MOST_IDLE_S:
            return Check(False, f"{depth} jobs wait, lane {idle[0].name} is open and idle, and nothing is admitted")
        return Check(True)
