"""What a submit that goes wrong proves about money, on real sockets: never left, or unknown, and never sent twice."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.outcomes import Accepted, NeverLeft, NotNow, Refused, Submission, Unavailable, Unknown
from darkroom.upstream.session import make_session
from tests.contract.upstream.raw_server import ID, KEY, Connect, Exchange, Serve, reset

pytestmark = pytest.mark.timeout(30)

JOB = Submission("a fox in four panels", "2048*2048", 4)


async def created(exchange: Exchange) -> None:
    await exchange.answer(200, {"code": 200, "data": {"id": ID, "status": "created"}})


async def silent(exchange: Exchange) -> None:
    await exchange.reader.read()


async def closes(exchange: Exchange) -> None:
    exchange.close()


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def half_a_head(exchange: Exchange) -> None:
    await exchange.write(b"HTTP/1.1 200 OK\r\nContent-")
    exchange.close()


async def half_a_body(exchange: Exchange) -> None:
    await exchange.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"code":200,"data":{"id":"p1"}}')
    exchange.close()


async def half_a_chunk(exchange: Exchange) -> None:
    await exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n{")
    exchange.close()


async def half_a_refusal(exchange: Exchange) -> None:
    await exchange.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 500\r\n\r\n{")
    exchange.close()


async def not_http(exchange: Exchange) -> None:
    await exchange.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    exchange.close()


async def not_gzip(exchange: Exchange) -> None:
    await exchange.answer(200, b"plain", Content_Encoding="gzip")


async def bad_gateway(exchange: Exchange) -> None:
    await exchange.answer(502, b"<html><h1>502 Bad Gateway</h1></html>")


async def redirects(exchange: Exchange) -> None:
    await exchange.answer(307, b"", Location="/api/v3/elsewhere")


async def drips(exchange: Exchange) -> None:
    """Keep the socket busy for ever, so that no pause between two bytes is long."""
    await exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not exchange.reader.at_eof():
        await exchange.write(b"1\r\n \r\n")
        await asyncio.wait([asyncio.ensure_future(exchange.reader.read(1))], timeout=0.05)


LOST: list[Callable[[Exchange], Awaitable[None]]] = [
    silent,
    closes,
    resets,
    half_a_head,
    half_a_body,
    half_a_chunk,
    half_a_refusal,
    not_http,
    not_gzip,
    bad_gateway,
    redirects,
]


@pytest.mark.parametrize("act", LOST, ids=lambda act: act.__name__)
async def test_a_lost_answer_is_unknown_and_the_post_is_sent_once(
    serve: Serve, connect: Connect, act: Callable[[Exchange], Awaitable[None]]
) -> None:
    server = await serve(act)
    before = datetime.now(UTC)
    outcome = await (await connect(server.url, submit_timeout_s=0.5)).submit(JOB)
    assert isinstance(outcome, Unknown)
    assert before <= outcome.sent_at <= outcome.ended_at <= datetime.now(UTC)
    assert server.posts == len(server.exchanges) == 1
    assert KEY not in repr(outcome)
    assert "127.0.0.1" not in outcome.message


@pytest.mark.usefixtures("short_patience")
async def test_an_answer_that_drips_for_ever_is_unknown_at_the_deadline(serve: Serve, connect: Connect) -> None:
    server = await serve(drips)
    assert isinstance(await (await connect(server.url, submit_timeout_s=0.3)).submit(JOB), Unknown)
    assert server.posts == 1


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("hang_up", [reset, asyncio.StreamWriter.close], ids=["rst", "fin"])
@pytest.mark.parametrize("taken", [0, 100_000])
async def test_a_connection_that_breaks_while_sending_is_unknown(
    connect: Connect, hang_up: Callable[[asyncio.StreamWriter], None], taken: int
) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readexactly(taken)
        hang_up(writer)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        client = await connect(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        outcome = await client.submit(Submission("x" * 20_000_000, "2048*2048", 1))
    assert isinstance(outcome, Unknown)
    assert connections == 1


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Keep a port that nobody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


async def test_a_refused_connection_never_left(connect: Connect, closed_port: int) -> None:
    assert isinstance(await (await connect(f"http://127.0.0.1:{closed_port}")).submit(JOB), NeverLeft)


async def test_a_failed_name_lookup_never_left(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    outcome = await (await connect("http://upstream.invalid")).submit(JOB)
    assert isinstance(outcome, NeverLeft)
    assert "name" in outcome.message


@pytest.mark.parametrize("act", ["garbage", "fin", "rst"])
async def test_a_failed_tls_handshake_never_left(connect: Connect, act: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if act == "garbage":
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        if act == "rst":
            reset(writer)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        client = await connect(
            f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}", ssl_context=ssl.create_default_context()
        )
        assert isinstance(await client.submit(JOB), NeverLeft)


@pytest.mark.usefixtures("short_patience")
async def test_a_tls_handshake_that_hangs_never_left(connect: Connect) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        client = await connect(f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        assert isinstance(await client.submit(JOB), NeverLeft)


@pytest.mark.usefixtures("short_patience")
async def test_a_connection_that_is_not_taken_in_time_never_left(connect: Connect) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            client = await connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert isinstance(await client.submit(JOB), NeverLeft)


@pytest.mark.usefixtures("short_patience")
async def test_without_a_free_connection_it_never_left(serve: Serve, connect: Connect) -> None:
    server = await serve(silent)
    client = await connect(server.url, max_connections=1)
    holding = asyncio.create_task(client.submit(JOB))
    while not server.posts:
        await asyncio.wait([holding], timeout=0.01)
    assert isinstance(await client.submit(JOB), NeverLeft)
    assert server.posts == 1
    holding.cancel()
    await asyncio.wait([holding])


async def test_a_closed_session_never_left(serve: Serve) -> None:
    server = await serve(created)
    async with make_session() as session:
        client = UpstreamClient(session=session, base_url=server.url, api_key=KEY, submit_timeout_s=5)
    assert isinstance(await client.submit(JOB), NeverLeft)
    assert server.connections == 0


@pytest.mark.parametrize("act", [closes, resets], ids=["fin", "rst"])
async def test_a_kept_connection_that_upstream_drops_on_the_second_post_gets_it_once(
    serve: Serve, connect: Connect, act: Callable[[Exchange], Awaitable[None]]
) -> None:
    server = await serve(created, act, created)
    client = await connect(server.url)
    assert isinstance(await client.submit(JOB), Accepted)
    assert isinstance(await client.submit(JOB), Unknown)
    assert (server.posts, server.connections) == (2, 1), "the second went out on the first's connection, and only once"


async def test_a_look_on_a_dropped_connection_is_asked_again(serve: Serve, connect: Connect) -> None:
    server = await serve(created, closes, created)
    client = await connect(server.url)
    await client.submit(JOB)
    assert not isinstance(await client.look(ID), Unavailable)
    assert len(server.exchanges) == 3


async def test_httpx_class_alone_would_have_repeated_a_sent_post(serve: Serve) -> None:
    """The reason why `failures.py` looks at the cause; when this fails, httpx-aiohttp has mended its mapping."""
    server = await serve(closes)
    async with make_session() as session:
        client = httpx.AsyncClient(transport=AiohttpTransport(client=session))
        with pytest.raises(httpx.ConnectTimeout):
            await client.post(server.url, json={})
    assert server.posts == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [(400, {"error": "bad size"}, Refused), (401, b"", NotNow), (402, b"", NotNow), (429, b"", NotNow)],
)
async def test_an_outright_refusal_is_no_mystery(
    serve: Serve, connect: Connect, status: int, body: object, expected: type
) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.answer(status, body, Retry_After="9")

    server = await serve(refuse)
    outcome = await (await connect(server.url)).submit(JOB)
    assert type(outcome) is expected
    assert not isinstance(outcome, NotNow) or status != 429 or outcome.retry_after_s == 9.0


async def test_the_request_carries_five_fields_the_key_and_the_callback(serve: Serve, connect: Connect) -> None:
    server = await serve(created)
    client = await connect(server.url + "/")
    callback = "https://me.example/v1/upstream/callback/tok?a=1&b=ü"
    await client.submit(JOB, callback_url=callback)
    await client.submit(Submission("p", "2048*2048", 1, enable_base64_output=True), callback_url=callback)
    first, second = server.exchanges
    target = urlsplit(first.line.split()[1])
    assert target.path == "/api/v3/bytedance/seedream-v4.5/sequential"
    assert parse_qs(target.query) == {"webhook": [callback]}
    assert first.header("authorization") == f"Bearer {KEY}"
    assert first.header("content-type") == "application/json"
    assert httpx.Response(200, content=first.body).json() == JOB.body()
    assert "webhook" not in second.line, "upstream refuses a callback together with base64 output"


async def test_sync_mode_waits_longer_than_upstream_holds_it(connect: Connect) -> None:
    client = await connect("http://127.0.0.1:9", submit_timeout_s=7)
    plain, sync = JOB, Submission("p", "2048*2048", 1, enable_sync_mode=True)
    assert 7 < client.submit_deadline_s(plain) < 30
    assert client.submit_deadline_s(sync) >= 90 + 20
