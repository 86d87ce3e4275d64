"""The HTTP session that all calls of one process share, set up so that connections don't cost money.

A kept connection that upstream has meanwhile closed can swallow a POST, which is then unknown; so idle ones are dropped
early. aiohttp repeats a request on such a connection by itself only for idempotent methods, never for a POST.
"""

import asyncio
import ssl

import aiohttp

IDLE_S = 15.0
DNS_TTL_S = 30
CONNECT_TIMEOUT_S = 10.0
READ_CHUNK_BYTES = 256 * 1024


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
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        read_bufsize=READ_CHUNK_BYTES,
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
    )
