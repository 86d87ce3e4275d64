"""Whether this service can take jobs and get them done: Redis, the bucket, the workers, and progress."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from darkroom.errors import RetryableError
from darkroom.line.progress import MOST_OVERDUE_MS, SILENCE_MS, Progress, look_at_progress
from darkroom.storage.bucket import Bucket
from darkroom.store.durability import SECTIONS, UNKNOWN_SYNC, persistence_warning, problem, replicas_problem
from darkroom.store.room import full_problem
from darkroom.telemetry.logs import get_logger

log = get_logger(__name__)
CACHE_S = 2.0
CHECK_TIMEOUT_S = 4.0


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
    def wrong(self) -> frozenset[str]:
        """Name the checks that fail."""
        return frozenset(name for name, check in self.checks.items() if not check.ok)

    @property
    def ready(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def body(self) -> dict[str, Any]:
        """Show it."""
        return {
            "status": "ready" if self.ready else "not_ready",
            "checks": {name: check.body() for name, check in self.checks.items()},
        }


class Readiness:
    """Looks at most once in two seconds, whoever asks how often."""

    def __init__(self, redis: Redis, bucket: Bucket, *, replicas_ack: int = 0) -> None:
        self._redis = redis
        self._replicas_ack = replicas_ack
        self._bucket = bucket
        self._lock = asyncio.Lock()
        self._report: Report | None = None
        self._good_until = 0.0

    async def report(self) -> Report:
        """Give the latest look, or take one."""
        async with self._lock:
            if self._report is None or time.monotonic() >= self._good_until:
                last, self._report = self._report, await self._look()
                _tell(last, self._report)
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
        wrong = problem(info) or full_problem(info) or replicas_problem(info, self._replicas_ack)
        if wrong is not None:
            return Check(False, wrong)
        try:
            appendfsync = (await self._redis.config_get("appendfsync")).get("appendfsync", UNKNOWN_SYNC)
        except ResponseError:
            appendfsync = UNKNOWN_SYNC
        return Check(True, persistence_warning(info, str(appendfsync)))

    async def _look_at_work(self) -> dict[str, Check]:
        found = await look_at_progress(self._redis)
        if not any(sign.alive for sign in found.signs):
            said = f"no worker has given a sign of life for {SILENCE_MS // 1000} s"
            return {
                "workers": Check(not found.waits, said),
                "progress": Check(not found.waits, f"{found.waits}, and no worker is there" if found.waits else None),
            }
        return {"workers": Check(True), "progress": _progress(found)}


def _tell(last: Report | None, report: Report) -> None:
    """Log what became wrong and what is right again; a state that lasts is not told twice."""
    before = last.wrong if last is not None else frozenset()
    for name in sorted(report.wrong - before):
        log.error("readiness.failed", check=name, why=report.checks[name].said)
    for name in sorted(before - report.wrong):
        log.info("readiness.restored", check=name)


def _progress(found: Progress) -> Check:
    if found.overdue_ms > MOST_OVERDUE_MS:
        overdue_s = found.overdue_ms // 1000
        return Check(False, f"the oldest timer is {overdue_s} s overdue: no worker looks at what is due")
    return Check(not found.stuck, "; ".join(found.stuck.values()) or found.looks_back)
