"""Both clients offer the same, keep their key to themselves and refuse what can't be an address or a key."""

import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from darkroom.client import AsyncClient, Client, ConfigurationError, ConnectionFailed, DownloadFailed, Unauthorized
from tests.support.client_samples import IMAGE, JOB_ID, SIGNED, job_fields, output_fields
from tests.support.clients import Awaited

KEY = "dk_THEKEY"
Make = Callable[..., Any]


@pytest.fixture(params=[Client, Awaited], ids=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Any] = []

    def one(handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> Any:
        client = request.param("https://api.example", KEY, transport=httpx.MockTransport(handler), **options)
        made.append(client)
        return client

    yield one
    for client in made:
        client.close()


def _public(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_have_the_same_methods_with_the_same_parameters() -> None:
    blocking, awaiting = _public(Client), _public(AsyncClient)
    assert {name: one.parameters for name, one in blocking.items()} == {
        name: one.parameters for name, one in awaiting.items()
    }
    assert len(blocking) == 18


class Service:
    """An API that sends to a bucket, both seen from inside; `bucket` is what the bucket answers."""

    def __init__(self, bucket: Callable[[httpx.Request], httpx.Response]) -> None:
        self.bucket = bucket
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if request.url.host != "api.example":
            return self.bucket(request)
        if "/outputs/" in request.url.path:
            return httpx.Response(307, headers={"Location": SIGNED})
        return httpx.Response(200, json=job_fields("completed", outputs=[output_fields()]))


def test_the_key_never_reaches_the_bucket(make: Make, tmp_path: Path) -> None:
    def bucket(request: httpx.Request) -> httpx.Response:
        if request.url.host == "bucket.example":
            return httpx.Response(302, headers={"Location": "https://other.example/?X-Amz-Signature=MOVED"})
        return httpx.Response(200, content=IMAGE)

    service = Service(bucket)
    [path] = make(service).download(JOB_ID, tmp_path)
    assert path.read_bytes() == IMAGE
    hosts = [request.url.host for request in service.seen]
    assert hosts == ["api.example", "api.example", "bucket.example", "other.example"]
    for request in service.seen:
        assert ("authorization" in request.headers) == (request.url.host == "api.example")
        assert (KEY in str(request.headers.raw)) == (request.url.host == "api.example")


def test_neither_key_nor_signature_is_logged_or_raised(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def bucket(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError(f"reset while reading {request.url}", request=request)

    caplog.set_level(logging.DEBUG)
    client = make(Service(bucket), retries=0)
    with pytest.raises(DownloadFailed) as failure:
        client.download(JOB_ID, tmp_path)
    assert "HTTP Request" in caplog.text, "the library's own line is kept, without the query"
    shown = caplog.text + str(failure.value) + repr(failure.value) + repr(client)
    for secret in (KEY, "SIGNATURE"):
        assert secret not in shown
    assert "api.example" in repr(client)


def test_other_users_of_the_library_keep_their_lines(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make(Service(lambda _: httpx.Response(404))).job(JOB_ID)
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as other:
        other.get("https://theirs.example/?q=visible")
    assert "q=visible" in caplog.text


def test_a_refused_key_is_not_repeated_in_the_error(make: Make) -> None:
    body = {"code": "unauthorized", "detail": "send a valid key"}
    with pytest.raises(Unauthorized) as refusal:
        make(lambda _: httpx.Response(401, json=body)).usage()
    assert KEY not in f"{refusal.value}{refusal.value!r}"


def test_a_dead_address_is_named(make: Make) -> None:
    def dead(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ConnectionFailed, match=r"https://api\.example .*refused") as failure:
        make(dead, retries=0).status()
    assert not failure.value.connected


@pytest.mark.parametrize("key", ["with blank", "line\nend", "schlüssel"])
def test_a_key_that_can_be_none_is_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigurationError, match="DARKROOM_API_KEY") as refusal:
        Client("http://127.0.0.1:1", key)
    assert key not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://x", "http://", "https://user:PASSWORD@x", "http://x/?key=PASSWORD"]
)
def test_an_address_that_can_be_none_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DARKROOM_URL") as refusal:
        AsyncClient(url)
    assert "PASSWORD" not in str(refusal.value)


def test_the_environment_says_where_and_with_which_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    monkeypatch.setenv("DARKROOM_URL", "https://queue.example/darkroom/")
    monkeypatch.setenv("DARKROOM_API_KEY", KEY)
    with Client(transport=httpx.MockTransport(handler)) as client:
        client.usage()
    assert str(seen[0].url) == "https://queue.example/darkroom/v1/usage"
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    monkeypatch.delenv("DARKROOM_API_KEY")
    with Client(transport=httpx.MockTransport(handler)) as client:
        client.usage()
    assert "authorization" not in seen[1].headers


@pytest.mark.parametrize("job_id", ["", "..", "."])
def test_an_empty_id_is_not_sent(make: Make, job_id: str) -> None:
    with pytest.raises(ValueError, match="id is empty"):
        make(lambda _: httpx.Response(200)).job(job_id)


def test_an_id_can_name_no_other_address(make: Make) -> None:
    seen: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200, json=job_fields())

    make(handler).job("../usage?x#y")
    assert seen == [b"/v1/jobs/..%2Fusage%3Fx%23y"]
