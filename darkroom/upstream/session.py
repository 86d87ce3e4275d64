"""The HTTP session that all calls of one process share, set up so that connections don't cost money.

A kept connection that upstream has meanwhile closed can swallow a POST, which is then unknown; so idle ones are dropped
early. aiohttp repeats a request on such a connection by itself only for idempotent methods, never for a POST.

A POST may have a last moment, after which its lease may be another's: it is looked at when nothing is left to do but
the write itself.
"""

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import aiohttp

from darkroom.checkpoints import Checkpoint, reach

IDLE_S = 15.0
DNS_TTL_S = 30
CONNECT_TIMEOUT_S = 10.0
READ_CHUNK_BYTES = 256 * 1024

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_write_until: ContextVar[tuple[float, object] | None] = ContextVar("write_until", default=None)


class HeldUpError(aiohttp.ClientConnectionError):
    """The connection was there, the time to write the request was over; nothing of it was written."""


def steady_s() -> float:
    """Give seconds that only rise and, where the system can tell, count the time a machine was suspended."""
    return time.clock_gettime(_CLOCK)


@contextmanager
def written_until(moment_s: float, what: object) -> Iterator[None]:
    """Let the request that is made here raise `HeldUpError` instead of being written past this moment of `steady_s`.

    `what` is sent; it is for tests that wait for it.
    """
    token = _write_until.set((moment_s, what))
    try:
        yield
    finally:
        _write_until.reset(token)


class PunctualRequest(aiohttp.ClientRequest):
    """Looks at the last moment right before the write: the head waits in a buffer to go with the body, and on new
    connections and old ones there is nothing in between but the call of `send`.
    """

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        """Write head and body, or neither."""
        limited = _write_until.get()
        if limited is not None:
            moment_s, what = limited
            reach(Checkpoint.SUBMIT_CONNECTED, what)
            if steady_s() > moment_s:
                conn.protocol.set_exception(HeldUpError("too late to write the request"))
                return
        await super().write_bytes(writer, conn, content_length)


async def notice_closed_connections() -> None:
    """Let the loop read what has already arrived, so that a connection which upstream has closed is not picked again.

    Two turns read the sockets, a third ends what was found closed (TLS takes one more than plain TCP).
    """
    for _ in range(3):
        await asyncio.sleep(0)


def make_session(
    *, max_connections: int = 512, idle_s: float = IDLE_S, ssl_context: ssl.SSLContext | None = None
) -> aiohttp.ClientSession:
    """Make the session, inside a running loop; the caller closes it.

    It keeps no cookies, reads neither proxies nor `.netrc` from the environment, and past `max_connections` requests
    wait.
    """
    connector = aiohttp.TCPConnector(
        limit=max_connections,
        keepalive_timeout=idle_s,
        ttl_dns_cache=DNS_TTL_S,
        ssl=True if ssl_context is None else ssl_context,
    )
    return aiohttp.ClientSession(
        connector=connector,
        request_class=PunctualRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        read_bufsize=READ_CHUNK_BYTES,
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
    )
