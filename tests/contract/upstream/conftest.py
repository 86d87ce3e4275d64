"""Raw servers and clients of them, each closed at the end of its test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from darkroom.upstream import calls
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.session import make_session
from tests.contract.upstream.raw_server import KEY, Act, Connect, RawServer, Serve

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers on free ports."""
    async with AsyncExitStack() as stack:

        async def start(*acts: Act) -> RawServer:
            server = RawServer(list(acts))
            listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 20)
            stack.callback(listener.close)
            stack.push_async_callback(server.stop)
            server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            return server

        yield start


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make clients, each with a session of its own."""
    async with AsyncExitStack() as stack:

        async def make(url: str, *, submit_timeout_s: float = 20, **session: Any) -> UpstreamClient:
            own: aiohttp.ClientSession = await stack.enter_async_context(make_session(**session))
            return UpstreamClient(session=own, base_url=url, api_key=KEY, submit_timeout_s=submit_timeout_s)

        yield make


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connecting take no longer than a test wants to wait."""
    monkeypatch.setattr(calls, "CONNECT_TIMEOUT_S", 0.3)


@pytest.fixture
def sample() -> Callable[[str], bytes]:
    """Give the bytes of a shared sample by its name without the ending."""
    return lambda name: (SAMPLES / f"{name}.json").read_bytes()
