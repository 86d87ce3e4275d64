"""Name lookups with threads of their own.

Names come from customers and may take as long to resolve as their owners like. asyncio's own lookups share the few
threads of the loop's default executor with file reads; these can only delay each other, and those of one session none
of another's.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

LOOKUP_TIMEOUT_S = 4.0
"""Less than a connect may take, so that a name that takes too long is told as that."""

LOOKUP_THREADS = 64
"""Of one session. A lookup that is given up holds its thread until the system gives it up too."""

_threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")


async def lookup(
    host: str, port: int = 0, family: int = socket.AF_UNSPEC, *, threads: ThreadPoolExecutor = _threads
) -> list[tuple[int, int, str]]:
    """Give (family, protocol, address) of each address of a name.

    Raises:
        OSError: it does not resolve, or as `TimeoutError` not within 4 s.
    """
    ask = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            found = await asyncio.get_running_loop().run_in_executor(threads, ask)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "the name can't be encoded") from None
    return [(kind, protocol, str(sockaddr[0])) for kind, _, protocol, _, sockaddr in found]


class Resolver(AbstractResolver):
    """`lookup` for one session's connector, with threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="session-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give a name's addresses; see `lookup` for what it raises."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, protocol, address in await lookup(host, port, family, threads=self._threads)
        ]

    async def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)
