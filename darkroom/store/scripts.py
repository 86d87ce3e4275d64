"""Loads the Lua scripts and calls them, one atomic move or query each.

A call may be repeated by the connection after a lost answer; every move is fenced, so the repetition changes nothing.
Where replicas have to acknowledge, what must not be lost with this server counts only once they have.
"""

import asyncio
import copy
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from darkroom.background import is_cancelled
from darkroom.store import keys
from darkroom.store.linking import link

_PACKAGE = Path(__file__).parent.parent
FOLDERS = (_PACKAGE / "store" / "lua", _PACKAGE / "line" / "lua")

MOST_AT_ONCE = 128
"""Most calls that travel together; bounds how long one pipeline keeps others waiting."""

ACKNOWLEDGED = frozenset({"enqueue", "begin_batch", "link_batch", "begin_submit", "submit_accepted", "take_over"})
"""What replicas must have before it counts: accepted jobs, intents, and ids of predictions.

`begin_batch` gives the answer again that a batch's acceptance had, and must not give it earlier.
"""

ACKNOWLEDGE_MS = 2_000
"""How long replicas may take; longer than the usual network's hiccup, shorter than a client's patience."""

Call = tuple[str, tuple[str | int | float, ...]]


class NotAcknowledgedError(RedisError):
    """The move is made here, but not enough replicas have it in time; retryable: the repetition answers the same."""


def shared_part() -> str:
    """Give what scripts share: the helpers of `_1_base.lua` to the last, in this order."""
    return "\n".join(path.read_text() for path in sorted(FOLDERS[0].glob("_*.lua")))


@cache
def sources() -> dict[str, str]:
    """Give every script's whole text by name: its flags' line, what it uses of the shared part, its body."""
    library = shared_part()
    texts = {}
    for path in sorted(path for folder in FOLDERS for path in folder.glob("[a-z]*.lua")):
        body = path.read_text()
        flags, body = body.split("\n", 1) if body.startswith("#!") else ("#!lua", body)
        texts[path.stem] = f"{flags}\n{link(library, body)}"
    return texts


@cache
def digests() -> dict[str, str]:
    """Give the SHA-1 under which Redis knows each script."""
    return {name: hashlib.sha1(text.encode()).hexdigest() for name, text in sources().items()}  # noqa: S324


class _Queue:
    """Calls that travel together: those made while a round trip is under way make the next one."""

    def __init__(self, scripts: "Scripts") -> None:
        self._scripts = scripts
        self._waiting: list[tuple[Call, asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def call(self, call: Call) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await future

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                await self._answer(batch)
        finally:
            self._flushing = None

    async def _answer(self, batch: list[tuple[Call, asyncio.Future[Any]]]) -> None:
        """Answer every call of the batch, whatever becomes of the round trip: a forgotten one would wait for ever."""
        results: list[Any] = []
        try:
            results = await self._scripts.call_many([call for call, _ in batch])
        except Exception as error:
            results = [error] * len(batch)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
        finally:
            for i, (_, future) in enumerate(batch):
                _settle(future, results[i] if i < len(results) else _LOST)


_LOST = RedisConnectionError("the answer was lost")


def _settle(future: "asyncio.Future[Any]", result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        # Everybody gets an error of their own: one that several raise carries the frames of them all, and who clears
        # what a failed call of its own left behind (Celery does) would end the others where they wait.
        future.set_exception(copy.copy(result))
    else:
        future.set_result(result)


class Scripts:
    """The scripts on one connection pool.

    Calls made while another is under way travel together in one pipeline: one round trip, and one write to disk. What
    waits for replicas travels apart, so that nothing else waits for them.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.replicas = 0
        self._plain, self._acknowledged = _Queue(self), _Queue(self)

    @classmethod
    def shared(cls, redis: Redis) -> "Scripts":
        """Give the one instance of a connection pool, so that all its users' calls travel together."""
        if redis not in _shared:
            _shared[redis] = cls(redis)
        return _shared[redis]

    def acknowledge(self, replicas: int) -> None:
        """Let what is in `ACKNOWLEDGED` count only once so many replicas have it (0: at once)."""
        self.replicas = replicas

    async def load(self) -> None:
        """Make every script known to the server (again: a restarted one forgets them)."""
        pipe = self.redis.pipeline(transaction=False)
        for text in sources().values():
            pipe.script_load(text)
        await pipe.execute()

    async def call(self, name: str, *args: str | int | float) -> Any:
        """Run one script.

        Raises:
            NotAcknowledgedError: retryable; the move was made, and repeating the call asks the replicas again.
            redis.exceptions.RedisError: retryable; the move may or may not have been made.
        """
        queue = self._acknowledged if self.replicas and name in ACKNOWLEDGED else self._plain
        return await queue.call((name, args))

    async def call_all(self, calls: Iterable[Call]) -> list[Any]:
        """Run several scripts in one round trip, each atomic by itself; all are tried before a failed one raises."""
        results = await self.call_many(calls)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results

    async def call_many(self, calls: Iterable[Call]) -> list[Any]:
        """Run several scripts in one round trip, each atomic by itself; a failed one gives its exception."""
        wanted = list(calls)
        if not wanted:
            return []
        results = await self._pipeline(wanted)
        missing = [i for i, result in enumerate(results) if isinstance(result, NoScriptError)]
        if missing:
            await self.load()
            again = await self._pipeline([wanted[i] for i in missing])
            for i, result in zip(missing, again, strict=True):
                results[i] = result
        return results

    async def _pipeline(self, calls: list[Call]) -> list[Any]:
        pipe = self.redis.pipeline(transaction=False)
        for name, args in calls:
            pipe.evalsha(digests()[name], 1, keys.ROOT, *args)
        counted = [name in ACKNOWLEDGED for name, _ in calls]
        if not (self.replicas and any(counted)):
            return await pipe.execute(raise_on_error=False)
        # WAIT, not WAITAOF: that would need every replica to append to disk too, and managed services lack it. What
        # this server's own disk holds is the matter of appendfsync.
        pipe.execute_command("WAIT", self.replicas, ACKNOWLEDGE_MS)
        *results, acknowledged = await pipe.execute(raise_on_error=False)
        if isinstance(acknowledged, int) and acknowledged >= self.replicas:
            return results
        error = _not_acknowledged(acknowledged, self.replicas)
        return [
            error if waits and not isinstance(result, Exception) else result
            for result, waits in zip(results, counted, strict=True)
        ]


def _not_acknowledged(answer: object, wanted: int) -> NotAcknowledgedError:
    have = f"{answer} have" if isinstance(answer, int) else f"WAIT answered {answer}"
    return NotAcknowledgedError(f"{wanted} replicas must have this before it counts, {have} within 2 s")


_shared: WeakKeyDictionary[Redis, Scripts] = WeakKeyDictionary()
