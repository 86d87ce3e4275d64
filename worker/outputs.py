"""The session that fetches output URLs: guarded, and opened when it is first needed.

What it may reach depends on the addresses the upstream's name has; a name that does not resolve for a moment must not
keep a worker from starting.
"""

import asyncio

import aiohttp

from darkroom.network import guarded_session, policy_for_upstream


class OutputSession:
    """One guarded session for all copies of a process."""

    def __init__(self, base_url: str, *, connections: int) -> None:
        self._base_url = base_url
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def get(self) -> aiohttp.ClientSession:
        """Give the session.

        Raises:
            RetryableError: the upstream's name does not resolve at the moment.
            AddressRefusedError: the upstream's address is no usable URL; permanent.
        """
        async with self._opening:
            if self._session is None:
                policy = await policy_for_upstream(self._base_url)
                self._session = guarded_session(policy, connections=self._connections)
            return self._session

    async def close(self) -> None:
        """Close it, if it was ever opened."""
        if self._session is not None:
            await self._session.close()
