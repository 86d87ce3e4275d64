"""Whether the store has room for more jobs: read in the background, known at once to whoever asks.

At 80 % of the memory limit no more is accepted or admitted, so that what is under way has the rest to end in; its moves
go on beyond the limit too (`allow-oom`), and every paid id is recorded.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from darkroom.errors import RetryableError
from darkroom.telemetry.logs import get_logger

FULL_AT = 0.8
READ_EVERY_S = 1.0
log = get_logger(__name__)


class StoreFullError(RetryableError):
    """No more is taken in until there is room again."""


def share_used(info: Mapping[str, Any]) -> float:
    """Give the share of the memory limit that is in use, by INFO; 0 where there is no limit."""
    limit = int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    return used / limit if limit > 0 else 0.0


class Room:
    """What the last reading said; before the first one there is room."""

    def __init__(self, redis: Redis, *, read_every_s: float = READ_EVERY_S) -> None:
        self._redis = redis
        self._read_every_s = read_every_s
        self.full = False

    async def read(self) -> None:
        """Ask the server once; an answer that changes anything is logged."""
        info: Any = await self._redis.info("memory")
        used = share_used(info)
        full = used >= FULL_AT
        if full != self.full:
            say = log.error if full else log.info
            say("store.full" if full else "store.has_room", used_percent=round(used * 100), admitting=not full)
        self.full = full

    async def run(self) -> None:
        """Read until cancelled; while the server is away the last answer stands."""
        while True:
            try:
                await self.read()
            except RedisError as error:
                log.debug("store.room_not_read", why=type(error).__name__)
            await asyncio.sleep(self._read_every_s)


def full_problem(info: Mapping[str, Any]) -> str | None:
    """Say that the store is full, by INFO."""
    used = share_used(info)
    if used < FULL_AT:
        return None
    return (
        f"this Redis uses {used:.0%} of its maxmemory: no job is accepted or admitted above {FULL_AT:.0%}; "
        "give it more memory, or let finished jobs' time run out (DARKROOM_JOB_TTL_SECONDS)"
    )
