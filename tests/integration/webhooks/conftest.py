"""The real sender on a guarded session, as a worker has it under `make run`."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network

import aiohttp
import pytest

from darkroom.network import AddressPolicy, guarded_session
from darkroom.webhooks.sender import AttemptResult, attempt_delivery
from tests.support.events import SECRET

Deliver = Callable[..., Awaitable[AttemptResult]]


@contextlib.asynccontextmanager
async def session_to_this_machine() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that may reach loopback."""
    async with guarded_session(AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),))) as opened:
        yield opened


@pytest.fixture
def deliver() -> Deliver:
    """Give a function that makes one attempt at one delivery.

    Each on a connection of its own: some receivers close theirs after a 500, which an attempt right behind it meets.
    """

    async def attempt(
        url: str, body: bytes, *, event_id: str = "evt_1", secrets: tuple[str, ...] = (SECRET,), age_s: float = 0
    ) -> AttemptResult:
        async with session_to_this_machine() as session:
            return await attempt_delivery(
                session,
                url=url,
                event_id=event_id,
                body=body,
                secrets=secrets,
                timeout_s=15,
                now_s=time.time() - age_s,
            )

    return attempt
