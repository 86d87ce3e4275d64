"""The line as the dispatcher sees it: ask who may go now."""

from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from darkroom.store import keys
from darkroom.store.attempts import Ticket
from darkroom.store.scripts import Scripts

WAKE_LIFE_MS = 2_000


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may go now, and why nobody else may: `empty, paused, slots, rate, spacing, storage` or `more`."""

    reason: str
    tickets: list[Ticket]


class Line:
    """Admits jobs, fairest first, within the limits of a lane."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def admit(self, lane: str, *, most: int, lease_ms: int, max_unstored: int) -> Admission:
        """Admit up to `most` jobs; each must be sent within `lease_ms` or it goes back to its place."""
        reply = await self.scripts.call("admit", lane, most, lease_ms, max_unstored)
        flat = reply[2:]
        tickets = [Ticket(str(flat[i]), int(flat[i + 1]), int(flat[i + 2])) for i in range(0, len(flat), 3)]
        return Admission(str(reply[0]), tickets)

    async def raise_wake(self) -> bool:
        """Say that `dispatch` is wanted; False: a message is under way already, or a full store takes none."""
        try:
            return bool(await self.redis.set(keys.WAKE, "1", nx=True, px=WAKE_LIFE_MS))
        except OutOfMemoryError:
            return False

    async def clear_wake(self) -> None:
        """Let the next one raise it again; done before working, so that nothing new is missed."""
        await self.redis.delete(keys.WAKE)
