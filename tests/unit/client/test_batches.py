"""What both clients send of a batch, and what they make of its answers."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from darkroom.client import AsyncClient, BatchStatus, Client, ConnectionFailed, Invalid, JobRequest, Webhook
from tests.support.client_samples import BATCH_ID, batch_fields, job_fields
from tests.support.clients import Awaited

Make = Callable[..., Any]


class Service:
    """Answers in turn and keeps what it was asked, bodies included; an exception is a connection that breaks."""

    def __init__(self, *answers: httpx.Response | type[httpx.TransportError]) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        self.bodies.append(request.content)
        answer = self.answers.pop(0)
        if isinstance(answer, httpx.Response):
            return answer
        raise answer("broken", request=request)


@pytest.fixture(params=[Client, Awaited], ids=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr("darkroom.client.steps.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("darkroom.client.steps.FIRST_LOOK_S", 0.001)
    made: list[Any] = []

    def one(service: Service) -> Any:
        client = request.param("https://api.example", "key", transport=httpx.MockTransport(service))
        made.append(client)
        return client

    yield one
    for client in made:
        client.close()


def batch(status: str = "running", code: int = 200, **more: Any) -> httpx.Response:
    return httpx.Response(code, json=batch_fields(status, **more))


def test_a_batch_is_posted_as_lines_with_what_goes_for_all(make: Make) -> None:
    service = Service(batch("accepting", 202))
    posted = make(service).submit_batch(
        [JobRequest(prompt="one"), {"prompt": "two"}],
        webhook=Webhook(url="https://example.com/?a=b&c", events=["batch.completed", "job.failed"]),
        metadata={"order": "1/2"},
        priority="low",
        expires_in=60,
        on_invalid="skip",
    )
    assert posted.status is BatchStatus.ACCEPTING
    [request] = service.seen
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.headers["transfer-encoding"] == "chunked"
    assert request.headers["idempotency-key"]
    assert request.url.params.multi_items() == [
        ("webhook_url", "https://example.com/?a=b&c"),
        ("priority", "low"),
        ("expires_in", "60"),
        ("on_invalid", "skip"),
        ("webhook_events", "batch.completed"),
        ("webhook_events", "job.failed"),
        ("metadata.order", "1/2"),
    ]
    assert service.bodies == [b'{"prompt":"one"}\n{"prompt": "two"}\n']


def test_a_broken_upload_is_repeated_whole_under_its_key(make: Make) -> None:
    under_way = httpx.Response(409, json={"code": "idempotency_in_progress", "detail": "x"})
    service = Service(httpx.WriteError, under_way, batch(code=202))
    assert make(service).submit_batch([{"prompt": "one"}]).id == BATCH_ID
    assert len({request.headers["idempotency-key"] for request in service.seen}) == 1
    assert service.bodies == [b'{"prompt": "one"}\n'] * 3


def test_a_generator_is_sent_once(make: Make) -> None:
    service = Service(httpx.ReadError)
    with pytest.raises(ConnectionFailed):
        make(service).submit_batch(line for line in ['{"prompt": "one"}'])
    assert len(service.seen) == 1


def test_a_wrong_line_of_the_callers_sends_nothing_whole(make: Make) -> None:
    with pytest.raises(TypeError, match=r"line 1 .* int"):
        make(Service()).submit_batch([17])


def test_every_wrong_line_is_named(make: Make) -> None:
    errors = [{"loc": ["line", 2, "size"], "msg": "too small"}]
    refused = httpx.Response(422, json={"code": "validation_error", "detail": "x", "errors": errors})
    with pytest.raises(Invalid) as refusal:
        make(Service(refused)).submit_batch([{"prompt": "x"}])
    assert refusal.value.errors == errors


def test_a_batch_is_waited_for(make: Make) -> None:
    seen: list[int] = []
    service = Service(batch(), batch(counts={"completed": 1}), batch("completed", counts={"completed": 2}))
    done = make(service).wait_batch(BATCH_ID, progress=lambda one: seen.append(one.counts.finished))
    assert done.status.terminal
    assert seen == [0, 1, 2]


def test_results_are_read_in_order_and_taken_up_where_they_broke_off(make: Make) -> None:
    def lines(*numbers: int, breaks: bool = False) -> httpx.Response:
        def cut() -> Iterator[bytes]:
            for number in numbers:
                job = job_fields("completed", custom_id=f"c{number}")
                yield json.dumps({"line": number, "custom_id": f"c{number}", "job": job}).encode() + b"\n"
            if breaks:
                yield b'{"line": 9'
                raise httpx.RemoteProtocolError("cut")

        return httpx.Response(200, stream=_Both(cut()))

    service = Service(lines(1, 3, breaks=True), lines(4, 7))
    assert [(one.line, one.custom_id) for one in make(service).results(BATCH_ID)] == [
        (1, "c1"),
        (3, "c3"),
        (4, "c4"),
        (7, "c7"),
    ]
    assert [request.url.params.get("after") for request in service.seen] == [None, "3"]


class _Both(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks

    async def __aiter__(self) -> Any:
        for chunk in self._chunks:
            yield chunk


def test_a_batch_is_canceled_retried_and_listed(make: Make) -> None:
    retry = {"batch": batch_fields(), "retried": {"resumed": 1, "new_attempts": 2}, "not_retried": {"x": 1}}
    pages = [{"data": [batch_fields(), batch_fields()], "next_cursor": "c"}, {"data": [batch_fields()]}]
    service = Service(
        batch("canceled"),
        httpx.Response(200, json=retry | {"cost": {"currency": "USD", "estimated": 0.08}}),
        *(httpx.Response(200, json=page) for page in pages),
    )
    client = make(service)
    assert client.cancel_batch(BATCH_ID).status is BatchStatus.CANCELED
    assert client.retry_batch(BATCH_ID, include=["content_moderation", "x"]).retried.new_attempts == 2
    assert len(list(client.batches())) == 3
    assert [request.url.raw_path.decode() for request in service.seen] == [
        f"/v1/batches/{BATCH_ID}/cancel",
        f"/v1/batches/{BATCH_ID}/retry?include=content_moderation%2Cx",
        "/v1/batches?limit=200",
        "/v1/batches?limit=200&cursor=c",
    ]


async def test_many_wait_at_once_in_one_loop() -> None:
    service = Service(*(httpx.Response(200, json=job_fields("completed")) for _ in range(300)))
    async with AsyncClient("https://api.example", transport=httpx.MockTransport(service)) as client:
        jobs = await asyncio.gather(*(client.wait("job_1") for _ in range(300)))
    assert len(jobs) == 300
