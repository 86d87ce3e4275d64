"""What a container's health check runs: `python -m deploy.healthcheck api|worker`, exit code 0 when it is healthy.

The API is asked over HTTP whether it lives; a worker must have put its heartbeat into Redis lately. Neither looks at
whether anything else is down: restarting this container would not mend that.
"""

import json
import socket
import sys
import urllib.error
import urllib.request

STALE_S = 30.0
_TIMEOUT_S = 5.0


def main(arguments: list[str]) -> int:
    """Check the role named; say why on stderr if it is not healthy."""
    if arguments not in (["api"], ["worker"]):
        sys.stderr.write("usage: python -m deploy.healthcheck api|worker\n")
        return 2
    problem = api_problem() if arguments == ["api"] else worker_problem()
    if problem:
        sys.stderr.write(problem + "\n")
    return 1 if problem else 0


def api_problem() -> str | None:
    """Return what is wrong with the API of this container."""
    from darkroom.settings import ServiceSettings

    service = ServiceSettings()
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(service.host, service.host)  # noqa: S104 - nothing is bound
    try:
        urllib.request.urlopen(f"http://{host}:{service.port}/healthz", timeout=_TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"/healthz answers {error.code}"
    except OSError as error:
        return f"/healthz can't be reached: {error}"
    return None


def worker_problem() -> str | None:
    """Return what is wrong with the worker of this container: its heartbeat is missing or old.

    Redis itself being away is not held against the worker: it waits and goes on, and a restart would not help.
    """
    import redis

    from darkroom.settings import RedisSettings
    from darkroom.store.keys import WORKERS

    client = redis.Redis.from_url(
        RedisSettings().redis_url,
        decode_responses=True,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
    )
    try:
        beats = client.hgetall(WORKERS)
        seconds, _ = client.time()
    except (redis.ConnectionError, redis.TimeoutError):
        return None
    finally:
        client.close()
    own = [json.loads(beat)["alive_at_ms"] for name, beat in beats.items() if _is_here(str(name))]
    if not own:
        return f"no worker of {socket.gethostname()} has a heartbeat"
    age_s = seconds - max(own) / 1000
    return f"the last heartbeat is {age_s:.0f} s old" if age_s > STALE_S else None


def _is_here(worker: str) -> bool:
    return worker.rpartition("@")[2] == socket.gethostname()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
