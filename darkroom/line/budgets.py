"""Budgets: how much may be charged to a tenant a day and to a batch in all, and whom that holds.

Caps are kept in Redis, in images, where the admitting script reads them; charging and holding happen there alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from redis.asyncio import Redis

from darkroom.store import keys
from darkroom.store.connection import read_hash
from darkroom.store.scripts import Scripts

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Budget:
    """A tenant's budget of today (UTC), in images."""

    cap_images: int
    charged_images: int

    @property
    def left_images(self) -> int:
        """What may still be charged today."""
        return max(0, self.cap_images - self.charged_images)


class Budgets:
    """Makes budgets known and reads how they stand."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def apply(self, caps: Mapping[str, int]) -> bool:
        """Let these caps (images by tenant, `*`, `:batch`) hold from now on; True when that changed anything."""
        flat = [part for name, images in sorted(caps.items()) for part in (name, images)]
        return int(await self.scripts.call("set_caps", *flat)) == 1

    async def today(self, tenant: str) -> Budget | None:
        """Give a tenant's budget of today; None when nothing caps it."""
        seconds, _ = await self.redis.time()
        pipe = self.redis.pipeline(transaction=True)
        pipe.hmget(keys.CAPS, [tenant, "*"])
        pipe.hget(keys.usage(tenant, seconds // DAY_S), "charged_images")
        [own, default], charged = await pipe.execute()
        cap = own if own is not None else default
        return None if cap is None else Budget(int(cap), int(charged or 0))

    async def held(self) -> dict[str, int]:
        """Give the tenants that wait for their budget, and since when (ms)."""
        return {tenant: int(since) for tenant, since in (await read_hash(self.redis, keys.HELD)).items()}
