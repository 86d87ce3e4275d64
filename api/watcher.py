"""Tells every waiting request of this process when its job changes: one subscription, no polling.

A watch says only "look again". It says so too after every (re)connection, because changes may have been missed.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis

from darkroom.store import keys
from darkroom.telemetry.logs import get_logger

SILENCE_S = 10.0
"""After so long without a word the server is asked for one; after as long again the connection is given up."""
_LONGEST_PAUSE_S = 2.0

log = get_logger(__name__)


class Watch:
    """One waiting request's eye on one job."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def look_again(self) -> None:
        """Wake the waiting request."""
        self._event.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait until the job may have changed; False after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Watcher:
    """The subscription, and who waits for what."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._watches: dict[str, set[Watch]] = {}
        self.closing = False
        self.connections = 0

    @property
    def count(self) -> int:
        """How many requests wait."""
        return sum(len(watches) for watches in self._watches.values())

    @contextmanager
    def watch(self, job_id: str) -> Iterator[Watch]:
        """Watch a job; begin before reading it, so that no change falls in between."""
        watch = Watch()
        self._watches.setdefault(job_id, set()).add(watch)
        try:
            yield watch
        finally:
            watches = self._watches[job_id]
            watches.discard(watch)
            if not watches:
                del self._watches[job_id]

    def let_go(self) -> None:
        """End every wait soon, for the process is about to stop."""
        self.closing = True
        self._wake_all()

    async def run(self) -> None:
        """Listen until cancelled, through every loss of the connection."""
        pause_s = 0.1
        while True:
            before = self.connections
            try:
                await self._listen()
            except Exception as error:  # whatever it is, those who wait must not be left without a listener
                log.warning("watcher_disconnected", error=type(error).__name__)
            pause_s = 0.1 if self.connections > before else min(pause_s * 2, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _listen(self) -> None:
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(keys.CHANNEL)
            asked = False
            while True:
                message = await subscription.get_message(timeout=SILENCE_S)
                if message is None:
                    if asked:
                        raise TimeoutError("the subscription is silent")
                    await subscription.ping()
                    asked = True
                    continue
                asked = False
                if message["type"] == "subscribe":
                    self.connections += 1
                    self._wake_all()
                elif message["type"] == "message":
                    for watch in self._watches.get(message["data"], ()):
                        watch.look_again()

    def _wake_all(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.look_again()
