"""How the supervisor sees that a process does its work."""

import asyncio
import contextlib
import json

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from darkroom.store.keys import WORKERS
from deploy.embedded.child import Ready

_CALL_TIMEOUT_S = 5.0


def answers_ping(url: str) -> Ready:
    """Ready once the Redis at `url` answers and has loaded its data."""

    async def ready(_started_at: float) -> bool:
        client = _client(url)
        try:
            return bool(await client.ping())
        except (RedisConnectionError, RedisTimeoutError):  # a loading server answers with a ConnectionError
            return False
        finally:
            await client.aclose()

    return ready


def listens(host: str, port: int) -> Ready:
    """Ready once somebody accepts connections."""

    async def ready(_started_at: float) -> bool:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _CALL_TIMEOUT_S)
        except (OSError, TimeoutError):
            return False
        await _close(writer)
        return True

    return ready


def answers_http(host: str, port: int, path: str) -> Ready:
    """Ready once a GET of `path` answers 200."""

    async def ready(_started_at: float) -> bool:
        try:
            return await asyncio.wait_for(_status(host, port, path), _CALL_TIMEOUT_S) == 200
        except (OSError, TimeoutError):
            return False

    return ready


def beats_in(url: str, worker: str) -> Ready:
    """Ready once the worker `worker` (or `worker@host`) has put a heartbeat into Redis since it was started."""

    async def ready(started_at: float) -> bool:
        client = _client(url)
        try:
            beats = await client.hgetall(WORKERS)
        except (RedisConnectionError, RedisTimeoutError):
            return False
        finally:
            await client.aclose()
        return any(
            json.loads(beat)["alive_at_ms"] >= started_at * 1000
            for name, beat in beats.items()
            if str(name).partition("@")[0] == worker
        )

    return ready


def _client(url: str) -> "redis.asyncio.Redis":
    return redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=_CALL_TIMEOUT_S,
        socket_connect_timeout=_CALL_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


async def _status(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        line = await reader.readline()
    finally:
        await _close(writer)
    words = line.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):  # the other side may have closed first
        await writer.wait_closed()
