"""The real sender on a guarded session, as a worker has it under `make run`."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network

import pytest

from darkroom.network import AddressPolicy
from darkroom.webhooks.sender import AttemptResult, attempt_delivery, webhook_session
from tests.support.events import SECRET

Deliver = Callable[..., Awaitable[AttemptResult]]


@pytest.fixture
async def deliver() -> AsyncIterator[Deliver]:
    """Give a function that makes one attempt at one delivery, all of them in one session, as in a worker."""

    async def attempt(
        url: str, body: bytes, *, event_id: str = "evt_1", secrets: tuple[str, ...] = (SECRET,), age_s: float = 0
    ) -> AttemptResult:
        return await attempt_delivery(
            session,
            url=url,
            event_id=event_id,
            body=body,
            secrets=secrets,
            timeout_s=15,
            now_s=time.time() - age_s,
        )

    policy = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),))
    async with webhook_session(policy, connections=10) as session:
        yield attempt
