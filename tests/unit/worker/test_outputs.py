"""What the session for output URLs reaches: as little as the configured upstream allows."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from darkroom.errors import RetryableError
from darkroom.network import AddressRefusedError, resolver
from worker.outputs import OutputSession

PUBLIC = "93.184.215.14"

WithUpstream = Callable[[str], OutputSession]


class Cdn:
    """A server on loopback that gives a picture, or a redirect to what follows `/to/`, and counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        path = (await reader.readline()).decode(errors="replace").split(" ")[1]
        if path.startswith("/to/"):
            answer = (
                f"302 Found\r\nConnection: close\r\nLocation: {path.removeprefix('/to/')}\r\nContent-Length: 0\r\n\r\n"
            )
        else:
            answer = "200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\npicture"
        writer.write(f"HTTP/1.1 {answer}".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def cdn() -> AsyncIterator[Cdn]:
    running = Cdn()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    yield running
    server.close()
    await server.wait_closed()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the address of each name; a name that is missing does not resolve."""
    known: dict[str, str] = {}

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host not in known:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[host], port))]

    monkeypatch.setattr(resolver.socket, "getaddrinfo", getaddrinfo)
    return known


async def _fetch(outputs: OutputSession, url: str) -> bytes:
    session = await outputs.get()
    async with session.get(url) as response:
        return await response.read()


async def _connections(cdn: Cdn) -> int:
    """Connect once more, openly: whoever connected before has been counted by then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", cdn.port)
    writer.write(b"GET /x.png HTTP/1.1\r\n\r\n")
    assert (await reader.read()).endswith(b"picture")
    writer.close()
    return cdn.connections - 1


@pytest.fixture
async def with_upstream() -> AsyncIterator[WithUpstream]:
    """Give the session of a worker with this upstream; closed at the end."""
    opened: list[OutputSession] = []

    def with_upstream(base_url: str) -> OutputSession:
        opened.append(OutputSession(base_url, connections=2))
        return opened[-1]

    yield with_upstream
    for outputs in opened:
        await outputs.close()


@pytest.fixture
def public(with_upstream: WithUpstream) -> OutputSession:
    return with_upstream(f"https://{PUBLIC}")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "inner.example"])
async def test_with_a_public_upstream_no_output_is_fetched_from_this_machine(
    public: OutputSession, cdn: Cdn, names: dict[str, str], scheme: str, host: str
) -> None:
    names["inner.example"] = "127.0.0.1"
    with pytest.raises(AddressRefusedError):
        await _fetch(public, f"{scheme}://{host}:{cdn.port}/x.png")
    assert await _connections(cdn) == 0


@pytest.mark.parametrize("host", [PUBLIC, "93.184.215.15"])
async def test_with_an_https_upstream_no_output_is_fetched_over_http(public: OutputSession, host: str) -> None:
    with pytest.raises(AddressRefusedError, match="https only"):
        await _fetch(public, f"http://{host}/x.png")


async def test_an_upstream_on_this_machine_has_its_outputs_fetched_from_it(
    with_upstream: WithUpstream, cdn: Cdn
) -> None:
    outputs = with_upstream(cdn.url)
    assert await _fetch(outputs, f"{cdn.url}/x.png") == b"picture"
    assert await _fetch(outputs, f"{cdn.url}/to/{cdn.url}/x.png") == b"picture"


@pytest.mark.parametrize(
    "target",
    ["http://10.0.0.1/x.png", "https://169.254.169.254/latest", "http://8.8.8.8/x.png", "https://inner.example/x.png"],
)
async def test_an_output_that_redirects_past_the_upstreams_network_is_refused(
    with_upstream: WithUpstream, cdn: Cdn, names: dict[str, str], target: str
) -> None:
    names["inner.example"] = "192.168.7.7"
    outputs = with_upstream(cdn.url)
    with pytest.raises(AddressRefusedError):
        await _fetch(outputs, f"{cdn.url}/to/{target}")


async def test_an_upstream_whose_name_moves_inwards_later_opens_nothing_more(
    with_upstream: WithUpstream, cdn: Cdn, names: dict[str, str]
) -> None:
    names["api.example"] = PUBLIC
    outputs = with_upstream(f"http://api.example:{cdn.port}")
    await outputs.get()
    names["api.example"] = "127.0.0.1"
    with pytest.raises(AddressRefusedError, match="loopback"):
        await _fetch(outputs, f"http://api.example:{cdn.port}/x.png")
    assert await _connections(cdn) == 0


async def test_a_name_that_does_not_resolve_yet_is_asked_again(
    with_upstream: WithUpstream, names: dict[str, str]
) -> None:
    outputs = with_upstream("https://api.example")
    with pytest.raises(RetryableError, match=r"api\.example"):
        await outputs.get()
    names["api.example"] = PUBLIC
    first, second = await asyncio.gather(outputs.get(), outputs.get())
    assert first is second
