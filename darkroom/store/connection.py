"""The connection to Redis: one pool a process, text in and out, retried within bounds."""

from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

UNAVAILABLE = (RedisConnectionError, RedisTimeoutError)
"""What a call raises while Redis is away; retryable, the call may or may not have been carried out."""


def connect(url: str, *, max_connections: int = 64, timeout_s: float = 5) -> Redis:
    """Open a pool. The caller closes it with `aclose()`.

    Whoever finds every connection in use waits for one, up to `timeout_s`: a burst is slow, not refused.

    A call whose answer is lost is repeated up to three times: every script bears that (its fence answers `stale`).
    """
    pool = BlockingConnectionPool.from_url(
        url,
        decode_responses=True,
        encoding_errors="surrogateescape",  # compacted jobs are bytes
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 3),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    return Redis.from_pool(pool)


async def read_hash(redis: Redis, key: str) -> dict[str, str]:
    """Read a whole hash as text."""
    return cast(dict[str, str], await redis.hgetall(key))


async def read_set(redis: Redis, key: str) -> list[str]:
    """Read a whole set as text, sorted."""
    return sorted(cast(set[str], await redis.smembers(key)))
