"""Name lookups with threads of their own.

Names come from customers and may take as long to resolve as their owners like. asyncio's own lookups share the few
threads of the loop's default executor with file reads; these can only delay each other.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

LOOKUP_TIMEOUT_S = 5.0
LOOKUP_THREADS = 32

_threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="darkroom-lookup")


async def lookup(host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[tuple[int, int, str]]:
    """Give (family, protocol, address) of each address of a name.

    Raises:
        OSError: it does not resolve, or as `TimeoutError` not within 5 s.
    """
    ask = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            found = await asyncio.get_running_loop().run_in_executor(_threads, ask)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "the name can't be encoded") from None
    return [(kind, protocol, str(sockaddr[0])) for kind, _, protocol, _, sockaddr in found]


class Resolver(AbstractResolver):
    """`lookup` for aiohttp's connector."""

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
            for kind, protocol, address in await lookup(host, port, family)
        ]

    async def close(self) -> None:
        """Do nothing: the threads serve every session of the process."""
