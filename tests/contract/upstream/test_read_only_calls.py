"""The calls that spend nothing: tried again where that can help, and clear about why not where it can't."""

from collections.abc import Callable
from datetime import UTC, datetime

import orjson
import pytest

from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.outcomes import Price, Submission, Unauthorized, Unavailable
from tests.contract.upstream.raw_server import ID, KEY, Act, Connect, Exchange, Serve

pytestmark = pytest.mark.timeout(30)


def says(status: int, body: object, **headers: str) -> Act:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(status, body, **headers)

    return answer


async def drops(exchange: Exchange) -> None:
    exchange.reset()


@pytest.mark.parametrize(
    "trouble", [says(503, b"<html></html>"), says(429, b"", Retry_After="0"), says(200, b"{"), drops]
)
async def test_a_passing_trouble_is_tried_again(
    serve: Serve, connect: Connect, sample: Callable[[str], bytes], trouble: Act
) -> None:
    server = await serve(trouble, trouble, says(200, sample("balance")))
    assert await (await connect(server.url)).balance() == 12.34
    assert len(server.exchanges) == 3


@pytest.mark.parametrize("trouble", [says(500, {"error": "no"}), drops])
async def test_tries_end_and_the_last_trouble_is_raised(serve: Serve, connect: Connect, trouble: Act) -> None:
    server = await serve(trouble)
    with pytest.raises(UpstreamUnavailableError) as caught:
        await (await connect(server.url)).list_predictions(page=1)
    assert len(server.exchanges) == 3
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_key_says_whether_it_is_bad_or_only_not_for_this_call(
    serve: Serve, connect: Connect, status: int
) -> None:
    server = await serve(says(status, b""))
    with pytest.raises(UnauthorizedError) as caught:
        await (await connect(server.url)).balance()
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (says(401, b'{"message":"invalid authentication"}'), UnauthorizedError),
        (says(403, b""), UnauthorizedError),
        (says(200, {"code": 401, "message": "no"}), UnauthorizedError),
        (says(400, {"error": "bad"}), UpstreamUnavailableError),
        (says(302, b"", Location="/x"), UpstreamUnavailableError),
        (says(429, b"", Retry_After="60"), UpstreamUnavailableError),
        (says(200, {"code": 200, "data": {"items": "none"}}), UpstreamUnavailableError),
        (says(200, {"code": 200, "data": None}), UpstreamUnavailableError),
    ],
)
async def test_what_another_try_cannot_mend_is_raised_at_once(
    serve: Serve, connect: Connect, trouble: Act, expected: type[Exception]
) -> None:
    server = await serve(trouble)
    with pytest.raises(expected) as caught:
        await (await connect(server.url)).list_predictions(page=1)
    assert len(server.exchanges) == 1
    assert not isinstance(caught.value, UpstreamUnavailableError) or caught.value.delay_s in (1.0, 60.0)


async def test_listing_asks_and_answers_in_upstreams_words(
    serve: Serve, connect: Connect, sample: Callable[[str], bytes]
) -> None:
    server = await serve(says(200, sample("list"), Date="Tue, 19 May 2026 06:10:00 GMT"))
    page = await (await connect(server.url)).list_predictions(
        page=2,
        page_size=50,
        created_after=datetime(2026, 5, 19, 6, 0, tzinfo=UTC),
        created_before=datetime(2026, 5, 19, 7, 0, 0, 500_000, tzinfo=UTC),
    )
    assert orjson.loads(server.exchanges[0].body) == {
        "page": 2,
        "page_size": 50,
        "model": "bytedance/seedream-v4.5/sequential",
        "created_after": "2026-05-19T06:00:00.000Z",
        "created_before": "2026-05-19T07:00:00.500Z",
    }
    assert (page.total, page.complete, page.is_last) == (1, True, True)
    assert page.server_date == datetime(2026, 5, 19, 6, 10, tzinfo=UTC)
    assert page.items[0].input is not None
    assert page.items[0].input.max_images == 4


async def test_a_page_with_an_unreadable_entry_is_not_complete(serve: Serve, connect: Connect) -> None:
    server = await serve(says(200, {"code": 200, "data": {"items": [{"id": "p"}, {"status": "created"}, None]}}))
    page = await (await connect(server.url)).list_predictions(page=1)
    assert ([item.id for item in page.items], page.complete) == (["p"], False)


@pytest.mark.parametrize(
    ("entries", "page_size", "total", "is_last"),
    [(0, 2, None, True), (1, 2, None, True), (2, 2, None, False), (1, 2, 5, False), (1, 2, 1, True), (2, 2, 2, False)],
)
async def test_the_last_page_is_known_only_by_being_short_of_nothing(
    serve: Serve, connect: Connect, entries: int, page_size: int, total: int | None, is_last: bool
) -> None:
    data = {"items": [{"id": f"p{number}"} for number in range(entries)], "total": total}
    server = await serve(says(200, {"code": 200, "data": data}))
    page = await (await connect(server.url)).list_predictions(page=1, page_size=page_size)
    assert page.is_last is is_last


async def test_price_billings_and_secret_are_read(serve: Serve, connect: Connect) -> None:
    record = {"uuid": "b", "billing_type": "refund", "price": 0.16, "prediction": {"uuid": ID}}
    server = await serve(
        says(200, {"code": 200, "data": {"price": 0.16, "discounted_price": 0.12, "currency": "USD"}}),
        says(200, {"code": 200, "data": {"items": [record]}}),
        says(200, {"code": 200, "data": {"secret": "whsec_abc"}}),
    )
    client = await connect(server.url)
    assert await client.price(Submission("p", "2048*2048", 4)) == Price(0.16, 0.12, "USD")
    assert [found.prediction_id for found in await client.billings([ID], "refund")] == [ID]
    assert await client.webhook_secret() == "whsec_abc"
    price, billings, _ = (orjson.loads(exchange.body or b"null") for exchange in server.exchanges)
    assert price["inputs"]["max_images"] == 4
    assert (billings["prediction_uuids"], billings["billing_type"]) == ([ID], "refund")


async def test_delete_is_tried_once(serve: Serve, connect: Connect, sample: Callable[[str], bytes]) -> None:
    server = await serve(says(200, sample("delete")), says(404, {"error": "no"}), says(500, b""))
    client = await connect(server.url)
    assert (await client.delete(ID), await client.delete(ID)) == (True, False)
    with pytest.raises(UpstreamUnavailableError):
        await client.delete(ID)
    assert [exchange.line.split()[0] for exchange in server.exchanges] == ["DELETE"] * 3


@pytest.mark.parametrize("trouble", [says(500, b""), drops, says(200, b"{")])
async def test_a_look_is_tried_once_and_raises_nothing(serve: Serve, connect: Connect, trouble: Act) -> None:
    server = await serve(trouble)
    client: UpstreamClient = await connect(server.url)
    assert isinstance(await client.look(ID), Unavailable)
    assert len(server.exchanges) <= 2, "aiohttp itself may ask again where a connection was dropped"


async def test_a_look_with_a_bad_key_is_the_lanes_trouble(
    serve: Serve, connect: Connect, sample: Callable[[str], bytes]
) -> None:
    server = await serve(says(401, sample("error-message")))
    assert isinstance(await (await connect(server.url)).look(ID), Unauthorized)
