"""What may be reached and what may not, decided before and at the connect."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from darkroom.errors import RetryableError
from darkroom.network import (
    AddressPolicy,
    AddressRefusedError,
    check_url,
    guarded_session,
    policy_for_upstream,
    resolver,
)

STRICT = AddressPolicy()
HTTP_TOO = AddressPolicy(allow_http=True)
LOOPBACK = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),))
PRIVATE = AddressPolicy(allow_networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))

ACCEPTED = [
    ("https://example.com/hook?x=1", STRICT),
    ("HTTPS://EXAMPLE.COM", STRICT),
    ("https://example.com.:8443/", STRICT),
    ("https://8.8.8.8/", STRICT),
    ("https://[2606:4700:4700::1111]/", STRICT),
    ("https://bücher.example/", STRICT),
    ("https://under_score.example/", STRICT),
    ("https://3com.example/", STRICT),
    ("http://example.com/", HTTP_TOO),
    ("http://127.0.0.1:9000/", LOOPBACK),
    ("https://127.0.0.1/", LOOPBACK),
    ("http://localhost:9000/", LOOPBACK),
    ("http://[::ffff:127.0.0.1]:9000/", LOOPBACK),
    ("http://10.1.2.3/", PRIVATE),
    ("http://[fd00::1]/", PRIVATE),
    ("http://perhaps-inside.example/", PRIVATE),
    ("https://example.com:8443/", AddressPolicy(ports=frozenset({443, 8443}))),
]

REFUSED = [
    ("", "host|https"),
    ("example.com/hook", "host|https"),
    ("/hook", "host"),
    ("https://", "host"),
    ("https:///hook", "host"),
    ("ftp://example.com/", "https://"),
    ("file:///etc/passwd", "host"),
    ("gopher://example.com/", "https://"),
    ("javascript:alert(1)", "host|https"),
    ("http://example.com/", "plain http"),
    ("https://user@example.com/", "user name"),
    ("https://user:pass@example.com/", "user name"),
    ("https://:pass@example.com/", "user name"),
    ("https://@example.com/", "user name"),
    ("https://:@example.com/", "user name"),
    ("https://[::1]@/", "not a URL"),
    ("https://[a]@", "not a URL"),
    ("https://example.com:443@127.0.0.1/", "user name"),
    ("https://example.com\uff20127.0.0.1/", "not a URL"),
    ("https://127.0.0.1\uff0f.example.com/", "not a URL"),
    ("https://example.com@127.0.0.1/", "user name"),
    ("https://example.com\\@127.0.0.1/", "backslashes"),
    ("https://exa mple.com/", "blanks"),
    ("https://example.com/\r\nHost: x", "control"),
    ("https://example.com/\x00", "control"),
    ("https://example.com:0/", "port 0"),
    ("https://example.com:99999/", "not a URL"),
    ("https://example.com:65536/", "not a URL"),
    ("https://example.com:-1/", "not a URL|plain number"),
    ("https://example.com:+443/", "plain number"),
    ("https://example.com:4_43/", "plain number"),
    ("https://example.com:\u0664\u0664\u0663/", "plain number"),
    ("https://example.com:\uff14\uff14\uff13/", "plain number"),
    ("https://[2606:4700:4700::1111]:+443/", "plain number"),
    ("https://example.com:443:80/", "not a URL|plain number"),
    ("https://exam%70le.com/", "not a valid name"),
    ("https://a..b/", "not a valid name"),
    ("https://-a.example/", "not a valid name"),
    ("https://" + "a." * 130 + "example/", "not a"),
    ("https://localhost/", "loopback"),
    ("https://LOCALHOST./", "loopback"),
    ("https://api.localhost/", "loopback"),
    ("https://ⓛocalhost/", "loopback"),
    ("https://127.0.0.1/", "loopback"),
    ("https://127.0.0.1./", "decimal numbers"),
    ("https://127.1/", "decimal numbers"),
    ("https://2130706433/", "decimal numbers"),
    ("https://017700000001/", "decimal numbers"),
    ("https://0177.0.0.1/", "decimal numbers"),
    ("https://0x7f000001/", "decimal numbers"),
    ("https://0x7f.0.0.0x1/", "decimal numbers"),
    ("https://127.0.0.0x1/", "decimal numbers"),
    ("https://1.2.3.4.5/", "decimal numbers"),
    ("https://256.1.1.1/", "decimal numbers"),
    ("https://0/", "decimal numbers"),
    ("https://0x7f.1/", "decimal numbers"),
    ("https://192.168.257/", "decimal numbers"),
    ("https://0127.0.0.1/", "decimal numbers"),
    ("https://%31%32%37.0.0.1/", "decimal numbers"),
    ("https://127%2e0%2e0%2e1/", "not a valid name"),
    ("https://localhost%00.example.com/", "not a valid name"),
    ("https://\uff11\uff12\uff17.0.0.1/", "loopback"),
    ("https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "loopback"),
    ("https://127\uff610\uff610\uff611/", "loopback"),
    ("https://127\uff0e0\uff0e0\uff0e1/", "loopback"),
    ("https://127。0。0。1/", "loopback"),
    ("https://127.0.0.1/", "loopback"),
    ("https://[::1]/", "loopback"),
    ("https://[::]/", "unspecified"),
    ("https://[::ffff:127.0.0.1]/", "loopback"),
    ("https://[::ffff:7f00:1]/", "loopback"),
    ("https://[0:0:0:0:0:ffff:a00:1]/", "private"),
    ("https://[64:ff9b::a9fe:a9fe]/", "metadata"),
    ("https://[2002:7f00:1::]/", "reserved|private"),
    ("https://[::127.0.0.1]/", "reserved"),
    ("https://[::ffff:0:127.0.0.1]/", "reserved"),
    ("https://[2001:0:4136:e378:8000:63bf:f5ff:fffe]/", "reserved|private"),
    ("https://[64:ff9b:1::a00:1]/", "reserved"),
    ("https://[fd00:ec2::254]/", "metadata"),
    ("https://[ff02::1]/", "multicast"),
    ("https://[127.0.0.1]/", "not a URL|IPv6"),
    ("https://[v1.fe80::a]/", "IPv6"),
    ("https://[fe80::1%25eth0]/", "zone"),
    ("https://[fe80::1%eth0]/", "zone"),
    ("https://[2606:4700:4700::1111%25eth0]/", "zone"),
    ("https://[::1/", "not a URL"),
    ("https://169.254.169.254/latest/meta-data/", "metadata"),
    ("https://10.0.0.1/", "private"),
    ("https://0.0.0.0/", "unspecified"),
    ("https://100.64.0.1/", "shared"),
    ("https://198.18.0.1/", "private"),
    ("https://224.0.0.1/", "multicast"),
    ("https://240.0.0.1/", "private|reserved"),
    ("https://255.255.255.255/", "private|reserved"),
]


@pytest.mark.parametrize(("url", "policy"), ACCEPTED)
def test_a_url_that_may_be_reached_passes(url: str, policy: AddressPolicy) -> None:
    check_url(url, policy)


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_a_url_that_may_not_be_reached_is_refused_with_a_reason(url: str, reason: str) -> None:
    with pytest.raises(AddressRefusedError, match=reason):
        check_url(url, STRICT)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://10.9.9.9/", "http://[::1]/", "http://localhost/"])
def test_http_to_public_addresses_opens_no_private_one(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_url(url, HTTP_TOO)


@pytest.mark.parametrize(
    "url", ["https://example.com:6379/", "https://10.1.2.3:6379/", "http://example.com/", "https://[fd00::1]:6379/"]
)
def test_a_port_that_is_not_listed_is_refused_in_allowed_networks_too(url: str) -> None:
    policy = replace(PRIVATE, ports=frozenset({8443, 443}), allow_http=True)
    with pytest.raises(AddressRefusedError, match=r"port (6379|80) is not allowed; allowed: 443, 8443$"):
        check_url(url, policy)


async def test_no_packet_reaches_a_port_that_is_not_listed(listener: "Listener") -> None:
    async with guarded_session(replace(LOOPBACK, ports=frozenset({443}))) as session:
        with pytest.raises(AddressRefusedError, match=f"port {listener.port}"):
            await session.get(f"http://127.0.0.1:{listener.port}/")
    assert await _connections_after_asking_openly(listener) == 0


@pytest.mark.parametrize(
    ("host", "wide", "exact"),
    [
        ("169.254.169.254", "169.254.0.0/16", "169.254.169.254/32"),
        ("100.100.100.200", "100.64.0.0/10", "100.100.100.200/32"),
        ("168.63.129.16", "0.0.0.0/0", "168.63.129.16/32"),
        ("[::ffff:169.254.169.254]", "169.254.0.0/16", "169.254.169.254/32"),
        ("[fd00:ec2::254]", "fd00::/8", "fd00:ec2::254/128"),
        ("[fd20:ce::254]", "fd00::/8", "fd20:ce::254/128"),
        ("[fd00:c1::a9fe:a9fe]", "fd00::/8", "fd00:c1::a9fe:a9fe/128"),
        ("[fe80::a9fe:a9fe]", "fe80::/10", "fe80::a9fe:a9fe/128"),
        ("169.254.170.23", "169.254.0.0/16", "169.254.170.23/32"),
    ],
)
def test_a_metadata_service_is_opened_by_its_own_address_only(host: str, wide: str, exact: str) -> None:
    with pytest.raises(AddressRefusedError, match="metadata"):
        check_url(f"http://{host}/", AddressPolicy(allow_networks=(ip_network(wide),)))
    check_url(f"http://{host}/", AddressPolicy(allow_networks=(ip_network(exact),)))


def test_the_reason_holds_nothing_of_path_and_query() -> None:
    with pytest.raises(AddressRefusedError) as caught:
        check_url("https://127.0.0.1/s3cret?token=s3cret", STRICT)
    assert "s3cret" not in str(caught.value)


class Listener:
    """A server that counts whoever connects, however little they say."""

    def __init__(self, server: asyncio.Server) -> None:
        self.port: int = server.sockets[0].getsockname()[1]
        self.connections = 0


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    heard = Listener(server)
    yield heard
    server.close()
    await server.wait_closed()


async def _connections_after_asking_openly(listener: Listener) -> int:
    """Connect once without a guard: whoever connected before has been counted by then."""
    url = f"http://127.0.0.1:{listener.port}/"
    async with aiohttp.ClientSession() as open_session, open_session.get(url) as response:
        assert response.status == 204
    return listener.connections - 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.0.0.1"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_packet_reaches_an_address_that_is_refused(host: str, scheme: str, listener: Listener) -> None:
    async with guarded_session(HTTP_TOO) as session:
        with pytest.raises(AddressRefusedError):
            await session.get(f"{scheme}://{host}:{listener.port}/", allow_redirects=False)
    assert await _connections_after_asking_openly(listener) == 0


@pytest.fixture
def rebinding(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Give the answers that the next lookups of any name get, in order; the last one stays."""
    answers: list[list[str]] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", _sockaddr(a, port))
            for a in addresses
        ]

    monkeypatch.setattr(resolver.socket, "getaddrinfo", getaddrinfo)
    return answers


def _sockaddr(address: str, port: int) -> tuple[object, ...]:
    return (address, port, 0, 0) if ":" in address else (address, port)


async def test_a_name_that_turns_private_after_the_check_is_still_refused(
    rebinding: list[list[str]], listener: Listener
) -> None:
    rebinding.append(["127.0.0.1"])
    url = f"http://rebind.example:{listener.port}/"
    check_url(url, HTTP_TOO)
    async with guarded_session(HTTP_TOO) as session:
        with pytest.raises(AddressRefusedError, match=r"rebind\.example is a loopback address"):
            await session.get(url)
    assert await _connections_after_asking_openly(listener) == 0


@pytest.mark.parametrize("address", ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "::1", "0.0.0.0", "10.0.0.1"])
async def test_a_name_may_not_lead_to_any_spelling_of_an_inner_address(
    rebinding: list[list[str]], address: str
) -> None:
    rebinding.append([address])
    async with guarded_session(HTTP_TOO) as session:
        with pytest.raises(AddressRefusedError):
            await session.get("http://rebind.example/")


async def test_a_name_may_not_lead_to_a_metadata_service_by_a_zone(rebinding: list[list[str]]) -> None:
    rebinding.append(["fe80::a9fe:a9fe%lo"])
    async with guarded_session(AddressPolicy(allow_networks=(ip_network("fe80::/10"),))) as session:
        with pytest.raises(AddressRefusedError, match="metadata"):
            await session.get("http://rebind.example/")


async def test_of_several_addresses_the_allowed_one_is_used(rebinding: list[list[str]], listener: Listener) -> None:
    rebinding.append(["::1", "10.0.0.1", "127.0.0.1"])
    url = f"http://mixed.example:{listener.port}/"
    async with guarded_session(LOOPBACK) as session, session.get(url) as response:
        assert response.status == 204


async def test_http_is_refused_for_a_name_outside_the_allowed_networks(rebinding: list[list[str]]) -> None:
    rebinding.append(["93.184.215.14"])
    check_url("http://outside.example/", LOOPBACK)
    async with guarded_session(LOOPBACK) as session:
        with pytest.raises(AddressRefusedError, match="https only"):
            await session.get("http://outside.example/")


async def test_a_redirect_inwards_is_refused_even_if_the_caller_follows_redirects() -> None:
    async def inwards(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://10.0.0.1/")

    app = web.Application()
    app.router.add_get("/", inwards)
    async with TestServer(app) as server, guarded_session(LOOPBACK) as session:
        with pytest.raises(AddressRefusedError, match="private"):
            await session.get(server.make_url("/"), allow_redirects=True)


async def test_a_request_without_the_guards_middleware_reaches_nothing(listener: Listener) -> None:
    async with guarded_session(LOOPBACK) as session:
        with pytest.raises(AddressRefusedError, match="past the address guard"):
            await session.get(f"http://127.0.0.1:{listener.port}/", middlewares=())
    assert await _connections_after_asking_openly(listener) == 0


async def test_an_allowed_address_that_nobody_listens_on_is_no_refusal(unused_tcp_port: int) -> None:
    async with guarded_session(LOOPBACK) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{unused_tcp_port}/")


async def test_a_host_whose_allowed_address_is_down_is_no_refusal(
    rebinding: list[list[str]], unused_tcp_port: int
) -> None:
    rebinding.append(["10.0.0.1", "127.0.0.1"])
    async with guarded_session(LOOPBACK) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://mixed.example:{unused_tcp_port}/")


async def test_proxies_of_the_environment_and_cookies_are_not_used(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_tcp_port}")
    seen: list[str | None] = []

    async def sets_cookie(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        response = web.Response()
        response.set_cookie("a", "b")
        return response

    app = web.Application()
    app.router.add_get("/", sets_cookie)
    async with TestServer(app) as server, guarded_session(LOOPBACK) as session:
        for _ in range(2):
            async with session.get(server.make_url("/")) as response:
                assert response.status == 200
    assert seen == [None, None]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY"])
@pytest.mark.parametrize("name", [str.upper, str.lower], ids=["upper", "lower"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_is_not_left_to_a_proxy_of_the_environment(
    variable: str,
    name: Callable[[str], str],
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
    rebinding: list[list[str]],
    listener: Listener,
) -> None:
    monkeypatch.setenv(name(variable), f"http://127.0.0.1:{listener.port}")
    rebinding.append(["10.0.0.1"])
    async with guarded_session(LOOPBACK) as session:
        with pytest.raises(AddressRefusedError):
            await session.get(f"{scheme}://inner.example/")
    assert await _connections_after_asking_openly(listener) == 0


async def test_passwords_of_a_netrc_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login operator password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[str | None] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response()

    app = web.Application()
    app.router.add_get("/", note)
    async with (
        TestServer(app) as server,
        guarded_session(LOOPBACK) as session,
        session.get(server.make_url("/")) as response,
    ):
        assert response.status == 200
    assert seen == [None]


async def test_a_loopback_upstream_opens_loopback_and_nothing_else() -> None:
    policy = await policy_for_upstream("http://127.0.0.1:8100")
    check_url("http://127.0.0.1:9/x.png", policy)
    check_url("http://localhost:9/x.png", policy)
    for url in ("http://10.0.0.1/x.png", "https://192.168.1.1/x.png", "http://8.8.8.8/x.png"):
        with pytest.raises(AddressRefusedError):
            check_url(url, policy)


async def test_an_upstream_beside_a_metadata_service_does_not_open_it() -> None:
    policy = await policy_for_upstream("http://100.100.100.7:8100")
    check_url("http://100.100.100.8/x.png", policy)
    with pytest.raises(AddressRefusedError, match="metadata"):
        check_url("http://100.100.100.200/x.png", policy)


async def test_a_private_upstream_opens_its_own_network_only(rebinding: list[list[str]]) -> None:
    rebinding.append(["10.1.2.3", "fd00:1:2:3::4"])
    policy = await policy_for_upstream("http://simulator:8100/")
    check_url("http://10.1.2.200/x.png", policy)
    check_url("http://[fd00:1:2:3::9]/x.png", policy)
    for url in ("http://10.1.3.1/x.png", "http://[fd00:1:2:4::9]/x.png", "http://127.0.0.1/x.png"):
        with pytest.raises(AddressRefusedError):
            check_url(url, policy)


async def test_an_https_upstream_opens_its_network_for_https_only() -> None:
    policy = await policy_for_upstream("https://10.1.2.3/")
    check_url("https://10.1.2.4/x.png", policy)
    for url in ("http://10.1.2.4/x.png", "http://example.com/x.png"):
        with pytest.raises(AddressRefusedError, match="https"):
            check_url(url, policy)


async def test_a_public_upstream_opens_no_more_than_the_public(rebinding: list[list[str]]) -> None:
    rebinding.append(["93.184.215.14"])
    policy = await policy_for_upstream("https://api.example.com")
    assert replace(policy, allow_networks=()) == AddressPolicy(http_in_networks=False)
    check_url("https://cdn.example.net/x.png", policy)
    for url in ("http://93.184.215.14/x.png", "https://127.0.0.1/x.png", "http://cdn.example.net/x.png"):
        with pytest.raises(AddressRefusedError):
            check_url(url, policy)


async def test_a_public_upstream_over_http_opens_http_to_its_own_address_only(rebinding: list[list[str]]) -> None:
    rebinding.append(["93.184.215.14"])
    policy = await policy_for_upstream("http://api.example.com")
    check_url("http://93.184.215.14/x.png", policy)
    with pytest.raises(AddressRefusedError, match="https"):
        check_url("http://93.184.215.15/x.png", policy)


async def test_an_upstream_that_does_not_resolve_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    fails = Mock(side_effect=socket.gaierror(socket.EAI_AGAIN, "try again"))
    monkeypatch.setattr(resolver.socket, "getaddrinfo", fails)
    with pytest.raises(RetryableError, match="nowhere\\.example"):
        await policy_for_upstream("https://nowhere.example")


async def test_a_name_that_takes_for_ever_to_resolve_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(resolver, "LOOKUP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(resolver.socket, "getaddrinfo", lambda *_, **__: over.wait())
    try:
        async with guarded_session(STRICT) as session:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await session.get("https://slow.example/")
    finally:
        over.set()


async def test_names_that_do_not_resolve_in_time_leave_the_loops_own_threads_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()
    waiting = threading.Semaphore(0)

    def wait(*_: object, **__: object) -> list[tuple[object, ...]]:
        waiting.release()
        over.wait()
        raise socket.gaierror(socket.EAI_NONAME, "no")

    monkeypatch.setattr(resolver.socket, "getaddrinfo", wait)
    lookups = [asyncio.create_task(resolver.lookup(f"slow-{n}.example")) for n in range(resolver.LOOKUP_THREADS)]
    try:
        for _ in lookups:
            assert await asyncio.to_thread(waiting.acquire, timeout=10)
    finally:
        over.set()
        await asyncio.gather(*lookups, return_exceptions=True)
