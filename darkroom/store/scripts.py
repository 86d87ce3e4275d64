"""Loads the Lua scripts and calls them, one atomic move or query each.

A call may be repeated by the connection after a lost answer; every move is fenced, so the repetition changes nothing.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from darkroom.store import keys

_PACKAGE = Path(__file__).parent.parent
FOLDERS = (_PACKAGE / "store" / "lua", _PACKAGE / "line" / "lua")

MOST_AT_ONCE = 128
"""Most calls that travel together; bounds how long one pipeline keeps others waiting."""

Call = tuple[str, tuple[str | int | float, ...]]


def shared_part() -> str:
    """Give what stands before every script: the helpers of `_1_base.lua` to the last, in this order."""
    return "\n".join(path.read_text() for path in sorted(FOLDERS[0].glob("_*.lua")))


@cache
def sources() -> dict[str, str]:
    """Give every script's whole text by name: its flags' line, the shared part, its body."""
    library = shared_part()
    texts = {}
    for path in sorted(path for folder in FOLDERS for path in folder.glob("[a-z]*.lua")):
        body = path.read_text()
        flags, body = body.split("\n", 1) if body.startswith("#!") else ("#!lua", body)
        texts[path.stem] = f"{flags}\n{library}\n{body}"
    return texts


@cache
def digests() -> dict[str, str]:
    """Give the SHA-1 under which Redis knows each script."""
    return {name: hashlib.sha1(text.encode()).hexdigest() for name, text in sources().items()}  # noqa: S324


class Scripts:
    """The scripts on one connection pool.

    Calls made while another is under way travel together in one pipeline: one round trip, and one write to disk.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._waiting: list[tuple[Call, asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    @classmethod
    def shared(cls, redis: Redis) -> "Scripts":
        """Give the one instance of a connection pool, so that all its users' calls travel together."""
        if redis not in _shared:
            _shared[redis] = cls(redis)
        return _shared[redis]

    async def load(self) -> None:
        """Make every script known to the server (again: a restarted one forgets them)."""
        pipe = self.redis.pipeline(transaction=False)
        for text in sources().values():
            pipe.script_load(text)
        await pipe.execute()

    async def call(self, name: str, *args: str | int | float) -> Any:
        """Run one script.

        Raises:
            redis.exceptions.RedisError: retryable; the move may or may not have been made.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(((name, args), future))
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
        try:
            results = await self.call_many([call for call, _ in batch])
        except Exception as error:
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

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
        return await pipe.execute(raise_on_error=False)


_shared: WeakKeyDictionary[Redis, Scripts] = WeakKeyDictionary()
