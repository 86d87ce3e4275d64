"""How the shared session behaves: no cookies, no proxies, no redirects, nobody else's to close."""

import pytest

from darkroom.errors import ConfigurationError
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.outcomes import Submission, Unavailable
from darkroom.upstream.session import IDLE_S, make_session
from tests.contract.upstream.raw_server import ID, KEY, Connect, Exchange, Serve
from tests.support.waiting import wait_until_async

JOB = Submission("a fox", "2048*2048", 1)


async def sets_a_cookie(exchange: Exchange) -> None:
    await exchange.answer(200, {"code": 200, "data": {"id": ID, "status": "processing"}}, Set_Cookie="a=1; Path=/")


async def test_cookies_are_not_sent_back_and_proxies_are_not_used(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, proxy = await serve(sets_a_cookie), await serve(sets_a_cookie)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    client = await connect(server.url)
    for _ in range(2):
        await client.submit(JOB)
        await client.look(ID)
    assert [exchange.header("cookie") for exchange in server.exchanges] == [None] * 4
    assert (server.connections, len(proxy.exchanges)) == (1, 0)


async def test_an_idle_connection_is_dropped_before_upstream_can(serve: Serve, connect: Connect) -> None:
    server = await serve(sets_a_cookie)
    client = await connect(server.url, idle_s=0.05)
    await client.submit(JOB)
    await wait_until_async(lambda: server.exchanges[0].reader.at_eof(), what="the client hangs up")
    await client.submit(JOB)
    assert server.connections == 2
    assert IDLE_S <= 15


async def test_a_redirected_look_is_not_followed(serve: Serve, connect: Connect) -> None:
    async def redirect(exchange: Exchange) -> None:
        await exchange.answer(302, b"", Location="/elsewhere")

    server = await serve(redirect)
    assert isinstance(await (await connect(server.url)).look(ID), Unavailable)
    assert len(server.exchanges) == 1


async def test_an_id_cannot_leave_its_place_in_the_path(serve: Serve, connect: Connect) -> None:
    server = await serve(sets_a_cookie)
    client = await connect(server.url)
    await client.look("../../balance?x=1#y")
    await client.look("..")
    assert [exchange.line for exchange in server.exchanges] == [
        "GET /api/v3/predictions/..%2F..%2Fbalance%3Fx%3D1%23y/result HTTP/1.1"
    ]


@pytest.mark.parametrize(
    ("base_url", "api_key", "names"),
    [
        ("ftp://x.example", KEY, "WAVESPEED_BASE_URL"),
        ("https://", KEY, "WAVESPEED_BASE_URL"),
        ("https://x.example?a=b", KEY, "WAVESPEED_BASE_URL"),
        ("https://x.example", "", "WAVESPEED_API_KEY"),
        ("https://x.example", "sk-1\nHost: evil", "WAVESPEED_API_KEY"),
        ("https://x.example", "schlüssel", "WAVESPEED_API_KEY"),
    ],
)
async def test_a_wrong_address_or_key_is_named_and_the_key_not_shown(base_url: str, api_key: str, names: str) -> None:
    async with make_session() as session:
        with pytest.raises(ConfigurationError, match=names) as caught:
            UpstreamClient(session=session, base_url=base_url, api_key=api_key, submit_timeout_s=5)
    assert not api_key or api_key not in str(caught.value)


async def test_the_fingerprint_tells_keys_apart_and_shows_none(connect: Connect) -> None:
    async with make_session() as session:
        first, again, other = (
            UpstreamClient(session=session, base_url="http://x.example", api_key=key, submit_timeout_s=5)
            for key in (KEY, KEY, KEY + "2")
        )
    assert first.key_fingerprint == again.key_fingerprint != other.key_fingerprint
    assert len(first.key_fingerprint) == 12
    assert KEY not in repr(vars(first))
