"""One delivery attempt against receivers of every kind, on loopback sockets."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from email.utils import formatdate
from ipaddress import ip_network
from unittest.mock import Mock

import aiohttp
import pytest
from standardwebhooks import Webhook

from darkroom.network import AddressPolicy, resolver
from darkroom.webhooks.sender import (
    EXCERPT_BYTES,
    AttemptResult,
    attempt_delivery,
    retry_after_seconds,
    webhook_session,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"type": "job.completed"}'

Receive = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[[Receive], Awaitable[str]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    policy = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),))
    async with webhook_session(policy, connections=10) as opened:
        yield opened


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Give a function that starts a receiver: its handler gets the request's bytes and writes what it likes."""
    async with AsyncExitStack() as stack:

        async def start(receive: Receive) -> str:
            async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                    await receive(head + await reader.readexactly(len(BODY)), writer)
                    await writer.drain()
                except (ConnectionError, asyncio.IncompleteReadError):
                    return
                finally:
                    writer.close()

            server = await asyncio.start_server(one, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?token=s3cret"

        yield start


def _saying(status: str, *headers: str, body: bytes = b"") -> Receive:
    async def receive(_request: bytes, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return receive


async def _attempt(
    session: aiohttp.ClientSession, url: str, *, timeout_s: float = 10.0, now_s: float | None = None
) -> AttemptResult:
    result = await attempt_delivery(
        session,
        url=url,
        event_id="evt_1",
        body=BODY,
        secrets=[SECRET],
        timeout_s=timeout_s,
        now_s=time.time() if now_s is None else now_s,
    )
    assert "s3cret" not in f"{result.error}{result.response_excerpt}"
    assert (result.error is None) == (result.kind == "delivered")
    return result


async def test_the_receiver_gets_a_post_that_the_public_library_verifies(
    session: aiohttp.ClientSession, listen: Listen
) -> None:
    requests: list[bytes] = []

    async def keep(request: bytes, writer: asyncio.StreamWriter) -> None:
        requests.append(request)
        await _saying("200 OK")(request, writer)

    result = await _attempt(session, await listen(keep))
    assert (result.kind, result.status_code, result.error) == ("delivered", 200, None)
    [request] = requests
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first == "POST /hook?token=s3cret HTTP/1.1"
    assert headers["webhook-id"] == "evt_1"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("Darkroom/")
    assert Webhook(SECRET).verify(body, headers) == {"type": "job.completed"}


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "299 Odd"])
async def test_every_2xx_counts_as_delivered(status: str, session: aiohttp.ClientSession, listen: Listen) -> None:
    assert (await _attempt(session, await listen(_saying(status)))).kind == "delivered"


@pytest.mark.parametrize(
    "status", ["300 Choices", "304 Not Modified", "400 Bad", "401 No", "404 No", "429 Slow", "500 Oops", "503 Busy"]
)
async def test_anything_else_counts_as_failed(status: str, session: aiohttp.ClientSession, listen: Listen) -> None:
    result = await _attempt(session, await listen(_saying(status)))
    assert (result.kind, result.status_code) == ("failed", int(status[:3]))
    assert result.heard == ("failed" if status[:3] in ("429", "500", "503") else "up")
    assert status[:3] in (result.error or "")


async def test_410_stops_the_address(session: aiohttp.ClientSession, listen: Listen) -> None:
    result = await _attempt(session, await listen(_saying("410 Gone")))
    assert (result.kind, result.status_code, result.heard) == ("gone", 410, "up")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_fails_and_nothing_reaches_its_target(
    status: str, session: aiohttp.ClientSession, listen: Listen
) -> None:
    reached: list[bytes] = []

    async def notice(request: bytes, writer: asyncio.StreamWriter) -> None:
        reached.append(request)
        await _saying("200 OK")(request, writer)

    target = await listen(notice)
    result = await _attempt(session, await listen(_saying(status, f"Location: {target}")))
    assert result.kind == "failed"
    assert "redirect" in (result.error or "")
    assert reached == []


@pytest.mark.parametrize("status", ["429 Slow", "503 Busy", "500 Oops"])
async def test_retry_after_is_read_in_seconds(status: str, session: aiohttp.ClientSession, listen: Listen) -> None:
    assert (await _attempt(session, await listen(_saying(status, "Retry-After: 120")))).retry_after_s == 120


async def test_retry_after_is_read_as_a_date_by_our_clock(session: aiohttp.ClientSession, listen: Listen) -> None:
    url = await listen(_saying("503 Busy", f"Retry-After: {formatdate(1_900_000_090, usegmt=True)}"))
    assert (await _attempt(session, url, now_s=1_900_000_000)).retry_after_s == 90


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("Mon, 20 Nov 99999999999999 19:12:08 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -9959", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("9" * 40, 1e12 - 1),
    ],
)
def test_a_retry_after_that_makes_no_sense_is_no_wish(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, 1e9) == seconds


def test_a_date_in_the_past_means_now() -> None:
    assert retry_after_seconds(formatdate(1_000, usegmt=True), 1e9) == 0.0


async def test_a_receiver_that_never_answers_costs_no_more_than_the_timeout(
    session: aiohttp.ClientSession, listen: Listen
) -> None:
    over = asyncio.Event()

    async def silent(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        await over.wait()

    result = await _attempt(session, await listen(silent), timeout_s=0.3)
    over.set()
    assert (result.kind, result.status_code, result.error) == ("failed", None, "no answer within 0.3 s")
    assert result.heard == "failed"


async def test_a_2xx_counts_although_its_body_never_ends(session: aiohttp.ClientSession, listen: Listen) -> None:
    over = asyncio.Event()

    async def drips(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok")
        await writer.drain()
        await over.wait()

    result = await _attempt(session, await listen(drips))
    over.set()
    assert (result.kind, result.response_excerpt) == ("delivered", "ok")


async def test_a_receiver_that_announces_its_answer_without_end_is_a_failure(
    session: aiohttp.ClientSession, listen: Listen
) -> None:
    async def announces(_request: bytes, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
            await writer.drain()

    result = await _attempt(session, await listen(announces))
    assert (result.kind, result.heard, result.status_code) == ("failed", "failed", None)


async def test_an_answer_that_is_announced_first_counts(session: aiohttp.ClientSession, listen: Listen) -> None:
    async def announces(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")

    assert (await _attempt(session, await listen(announces))).kind == "delivered"


async def test_a_2xx_counts_whatever_its_body_is_packed_in(session: aiohttp.ClientSession, listen: Listen) -> None:
    packed = _saying("200 OK", "Content-Encoding: br", body=b"no brotli")
    assert (await _attempt(session, await listen(packed))).kind == "delivered"


async def test_no_more_than_an_excerpt_of_a_giant_answer_is_read(
    session: aiohttp.ClientSession, listen: Listen
) -> None:
    result = await _attempt(session, await listen(_saying("500 Oops", body=b"x" * 10**7)))
    assert result.response_excerpt == "x" * EXCERPT_BYTES


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200"])
async def test_an_answer_that_is_no_http_is_a_failure(
    said: bytes, session: aiohttp.ClientSession, listen: Listen
) -> None:
    async def talk(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    result = await _attempt(session, await listen(talk))
    assert (result.kind, result.status_code) == ("failed", None)
    assert "broke off" in (result.error or "")


async def test_a_kept_connection_that_the_receiver_closed_costs_no_attempt(
    session: aiohttp.ClientSession, unused_tcp_port: int
) -> None:
    heard = []

    async def closes_at_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""):
            heard.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(len(BODY)))
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(closes_at_the_second, "127.0.0.1", unused_tcp_port):
        url = f"http://127.0.0.1:{unused_tcp_port}/hook?token=s3cret"
        kinds = [(await _attempt(session, url)).kind for _ in range(2)]
    assert kinds == ["delivered", "delivered"]
    assert len(heard) == 3, "the second attempt should have met the closed connection first"


async def test_a_fresh_connection_that_breaks_off_is_not_tried_again(
    session: aiohttp.ClientSession, listen: Listen
) -> None:
    heard = []

    async def hangs_up(request: bytes, _writer: asyncio.StreamWriter) -> None:
        heard.append(request)

    assert (await _attempt(session, await listen(hangs_up))).kind == "failed"
    assert len(heard) == 1


async def test_a_receiver_that_is_down_is_a_failure(session: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    result = await _attempt(session, f"http://127.0.0.1:{unused_tcp_port}/hook?token=s3cret")
    assert result.kind == "failed"
    assert "connecting failed" in (result.error or "")


async def test_a_receiver_without_tls_at_an_https_address_is_a_failure(session: aiohttp.ClientSession) -> None:
    def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        result = await _attempt(session, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/?s3cret")
    assert (result.status_code, result.error) == (None, "TLS handshake failed")


async def test_a_host_that_does_not_resolve_is_a_failure(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = Mock(side_effect=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    monkeypatch.setattr(resolver.socket, "getaddrinfo", fails)
    result = await _attempt(session, "https://nowhere.example/hook?token=s3cret")
    assert result.error == "the host's name does not resolve"


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/hook?token=s3cret",
        "http://169.254.169.254/?token=s3cret",
        "https://u:s3cret@example.com/",
        "ftp://127.0.0.1/?s3cret",
    ],
)
async def test_an_address_that_may_not_be_reached_is_a_failure_that_says_so(
    url: str, session: aiohttp.ClientSession
) -> None:
    result = await _attempt(session, url)
    assert (result.kind, result.status_code, result.heard) == ("failed", None, "")
    assert (result.error or "").startswith("address refused: ")


@pytest.mark.parametrize("url", ["nonsense", "", "http://", "https://[::1/"])
async def test_a_url_that_is_none_is_a_failure_too(url: str, session: aiohttp.ClientSession) -> None:
    result = await _attempt(session, url)
    assert result.kind == "failed"
