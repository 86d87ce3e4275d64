"""What the Redis in use promises: it must never evict, and ought to write to disk.

Read from INFO, which managed services allow where CONFIG is forbidden.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from darkroom.errors import ConfigurationError

_LOOK_TIMEOUT_S = 2


def refuse_eviction(redis_url: str) -> None:
    """Look at the server once; one that is not there (yet) is not a wrong setting.

    Raises:
        ConfigurationError: the server would throw jobs away when its memory is full.
    """
    client = Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_timeout=_LOOK_TIMEOUT_S,
        socket_connect_timeout=_LOOK_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    with closing(client):
        try:
            info: Any = client.info("memory")
        except RedisError:
            return
    problem = eviction_problem(info)
    if problem is not None:
        raise ConfigurationError([f"DARKROOM_REDIS_URL: {problem}"])


def eviction_problem(info: Mapping[str, Any]) -> str | None:
    """Say what is wrong when the server, by its INFO, may throw jobs away."""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return None
    return f"this Redis evicts keys (maxmemory-policy {policy}) and would lose jobs; set it to noeviction"


def persistence_warning(info: Mapping[str, Any]) -> str | None:
    """Say what is missing when the server, by its INFO, would lose accepted jobs in a crash."""
    if int(info.get("aof_enabled", 0)):
        return None
    return "writes are not appended to disk (appendonly no): a crash of this Redis loses accepted jobs"
