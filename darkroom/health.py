"""Whether one process of this machine is healthy: what a container's health check and an operator ask.

The API is asked over HTTP whether it lives. A worker must have put its heartbeat into Redis lately, which its reactor
does, and the stages it serves must get on. Neither is judged by what a restart would not mend: an API by nothing else,
a worker not by a Redis that is away.
"""

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Literal

from darkroom.settings import RedisSettings, ServiceSettings

Role = Literal["api", "worker"]
TIMEOUT_S = 5.0
_UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - nothing is bound


class UnknownHealthError(Exception):
    """It can't be judged just now, for a reason that restarting the process would not mend."""


def problem_of(role: Role) -> str | None:
    """Say in one line what is wrong with the process of this role here; None when nothing is.

    Raises:
        UnknownHealthError: Redis, where a worker leaves its signs of life, does not answer.
    """
    return _api_problem() if role == "api" else asyncio.run(_worker_problem())


def _api_problem() -> str | None:
    service = ServiceSettings()
    host = _UNSPECIFIED.get(service.host, service.host)
    try:
        urllib.request.urlopen(f"http://{host}:{service.port}/healthz", timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"/healthz answers {error.code}"
    except OSError as error:
        return f"http://{host}:{service.port}/healthz can't be reached: {getattr(error, 'reason', error)}"
    return None


async def _worker_problem() -> str | None:
    from darkroom.line.progress import Progress, look_at_progress
    from darkroom.store.connection import UNAVAILABLE, connect
    from darkroom.store.durability import unreachable

    url = RedisSettings().redis_url
    redis = connect(url, timeout_s=TIMEOUT_S / 2)
    found: Progress
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await look_at_progress(redis)
    except (*UNAVAILABLE, TimeoutError) as error:
        raise UnknownHealthError(unreachable(url, error)) from None
    finally:
        await redis.aclose()
    own = [sign for sign in found.signs if sign.name.rpartition("@")[2] == socket.gethostname()]
    if not own:
        return f"no worker of {socket.gethostname()} has a heartbeat"
    latest = min(own, key=lambda sign: sign.silent_ms)
    if not latest.alive:
        return f"the last heartbeat is {latest.silent_ms // 1000} s old"
    return _first(found.stuck[stage] for stage in found.stuck if any(stage in sign.serves for sign in own))


def _first(problems: Iterable[str]) -> str | None:
    return next(iter(problems), None)
