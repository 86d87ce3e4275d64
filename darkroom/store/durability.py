"""What the Redis in use is and promises: it must take writes and never evict, and ought to write to disk.

Judged by INFO, which managed services allow where CONFIG is forbidden; whether every write is synced only CONFIG tells.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from darkroom.errors import ConfigurationError
from darkroom.store.connection import UNAVAILABLE
from darkroom.telemetry.logs import get_logger

SECTIONS = ("server", "memory", "persistence", "replication", "cluster")
SETTING = "DARKROOM_REDIS_URL"
OLDEST_VERSION = (7, 0)
UNKNOWN_SYNC = ""
"""What stands for `appendfsync` where it may not be read."""

_LOOK_TIMEOUT_S = 2
_UNSYNCED = {
    "everysec": "up to a second of accepted jobs is lost when its machine loses power",
    "no": "accepted jobs that the system has not yet written are lost when its machine loses power",
    UNKNOWN_SYNC: "CONFIG may not be read here; unless appendfsync is always, a power cut loses accepted jobs",
}
log = get_logger(__name__)


def judge_store(redis_url: str) -> None:
    """Look at the server once, and log what accepted jobs are not safe from there.

    One that is not there (yet) is no wrong setting: that is logged too, with the setting's name.

    Raises:
        ConfigurationError: the service would lose jobs or could not work with it at all.
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
            info: Any = client.info(*SECTIONS)
            appendfsync = _appendfsync(client)
        except AuthenticationError as error:
            raise ConfigurationError([f"{SETTING}: this Redis refuses the user or password ({error})"]) from None
        except UNAVAILABLE as error:
            log.warning("store.unreachable", setting=SETTING, at=where(redis_url), why=type(error).__name__)
            return
        except RedisError as error:
            log.warning("store.not_judged", setting=SETTING, why=str(error))
            return
    found = problem(info)
    if found is not None:
        raise ConfigurationError([f"{SETTING}: {found}"])
    warning = persistence_warning(info, appendfsync)
    if warning is not None:
        log.warning("store.may_lose_jobs", setting=SETTING, what=warning)


def unreachable(redis_url: str, error: Exception) -> str:
    """Say in one line which setting names the Redis that does not answer."""
    return f"{SETTING}: no Redis answers at {where(redis_url)} ({type(error).__name__})"


def where(redis_url: str) -> str:
    """Give the address in a Redis URL, without user and password."""
    parts = urlsplit(redis_url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path


def problem(info: Mapping[str, Any]) -> str | None:
    """Say why, by its INFO, the server can't be worked with: too old, read-only, of a cluster, or evicting."""
    version = str(info.get("redis_version", "7.0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_VERSION:
        return f"this Redis is {version}; Redis 7.0 or Valkey 7.2 is needed"
    if str(info.get("cluster_enabled", "0")) == "1":
        return "this is a node of a Redis cluster; a cell needs one primary with cluster mode off"
    if info.get("role") == "slave":
        return f"this is a read-only replica; set the address of its primary ({info.get('master_host', 'unknown')})"
    return eviction_problem(info)


def eviction_problem(info: Mapping[str, Any]) -> str | None:
    """Say what is wrong when the server, by its INFO, may throw jobs away."""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return None
    return f"this Redis evicts keys (maxmemory-policy {policy}) and would lose jobs; set it to noeviction"


def replicas_problem(info: Mapping[str, Any], wanted: int) -> str | None:
    """Say that fewer replicas are connected than must have a job before it counts."""
    connected = int(info.get("connected_slaves", 0))
    if connected >= wanted:
        return None
    return f"{connected} replicas are connected, DARKROOM_REDIS_REPLICAS_ACK is {wanted}: nothing is accepted or sent"


def persistence_warning(info: Mapping[str, Any], appendfsync: str) -> str | None:
    """Say what a crash or power cut would lose, by INFO and the `appendfsync` in force ('': it may not be read)."""
    if not int(info.get("aof_enabled", 0)):
        return "writes are not appended to disk (appendonly no): a restart of this Redis loses accepted jobs"
    lost = _UNSYNCED.get(appendfsync)
    return (
        None if lost is None else f"not every write is synced to disk (appendfsync {appendfsync or 'unknown'}): {lost}"
    )


def _appendfsync(client: Redis) -> str:
    try:
        answer: Any = client.config_get("appendfsync")
    except ResponseError:
        return UNKNOWN_SYNC
    return str(answer.get("appendfsync", UNKNOWN_SYNC))
