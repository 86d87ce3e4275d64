"""The documented receivers, really running: they take what the sender sends, once, and nothing else."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import httpx
import pytest

from darkroom.webhooks.signing import signed_headers
from tests.integration.webhooks.conftest import Deliver
from tests.support import npm
from tests.support.events import BODIES, OTHER_SECRET, SECRET, event_body
from tests.support.receivers import EXAMPLES, RunningReceiver, running_receiver

Start = Callable[[], AbstractContextManager[RunningReceiver]]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm.install(EXAMPLES, tmp_path_factory.mktemp("npm"))


@pytest.fixture(params=["receiver.py", "receiver.mjs"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Give a function that starts the receiver, every time in the same directory."""
    directory = tmp_path
    if request.param == "receiver.mjs":
        directory = request.getfixturevalue("packages") / tmp_path.name
        directory.mkdir()
    return partial(running_receiver, request.param, directory, SECRET)


async def test_an_event_is_acted_upon_once_however_often_it_comes(start: Start, deliver: Deliver) -> None:
    with start() as receiver:
        for _ in range(3):
            assert (await deliver(receiver.url, event_body())).status_code == 204
        assert (await deliver(receiver.url, event_body(job_id="job_2"), event_id="evt_2")).status_code == 204
        assert receiver.acted == ["job.completed job_1", "job.completed job_2"]


async def test_an_event_is_known_after_a_restart(start: Start, deliver: Deliver) -> None:
    for _ in range(2):
        with start() as receiver:
            assert (await deliver(receiver.url, event_body())).kind == "delivered"
    assert receiver.acted == ["job.completed job_1"]


async def test_an_event_that_could_not_be_acted_upon_is_taken_when_it_comes_again(
    start: Start, deliver: Deliver
) -> None:
    with start() as receiver:
        fail = receiver.directory / "fail"
        fail.touch()
        assert (await deliver(receiver.url, event_body())).status_code == 500
        fail.unlink()
        assert (await deliver(receiver.url, event_body())).status_code == 204
        assert receiver.acted == ["job.completed job_1"]


async def test_every_kind_of_body_verifies_while_secrets_are_changed_over(start: Start, deliver: Deliver) -> None:
    with start() as receiver:
        for name, body in BODIES.items():
            for secrets in ((SECRET,), (OTHER_SECRET, SECRET)):
                result = await deliver(receiver.url, body, event_id=f"evt_{name}_{len(secrets)}", secrets=secrets)
                assert result.status_code == 204, name
        assert len(receiver.acted) == 6


async def test_what_is_not_genuine_is_refused_and_not_remembered(start: Start, deliver: Deliver) -> None:
    body = event_body()
    signed = signed_headers(event_id="evt_1", body=body, secrets=[SECRET], now_s=time.time())

    async def post(content: bytes, headers: dict[str, str]) -> int:
        async with httpx.AsyncClient() as client:
            return (await client.post(receiver.url, content=content, headers=headers)).status_code

    with start() as receiver:
        assert (await deliver(receiver.url, body, secrets=(OTHER_SECRET,))).status_code == 401
        assert (await deliver(receiver.url, body, age_s=330)).status_code == 401
        assert (await deliver(receiver.url, body, age_s=-330)).status_code == 401
        assert await post(body.replace(b"completed", b"failed", 1), signed) == 401
        assert await post(body, signed | {"webhook-id": "evt_2"}) == 401
        assert await post(b"\xff", signed) == 401
        assert await post(body, {}) == 401
        for signature in ("v1", "v1,", "nonsense", "v1,%%%", "v1a,AAAA"):
            assert await post(body, signed | {"webhook-signature": signature}) == 401, signature
        assert receiver.acted == []
        assert await post(body, signed) == 204
        assert receiver.acted == ["job.completed job_1"]


async def test_a_sender_that_hangs_up_halfway_does_no_harm(start: Start, deliver: Deliver) -> None:
    with start() as receiver:
        url = httpx.URL(receiver.url)
        answer, sender = await asyncio.open_connection(url.host, url.port)
        sender.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        sender.write_eof()
        await answer.read()  # until the receiver has seen it and hung up too
        sender.close()
        assert (await deliver(receiver.url, event_body())).status_code == 204
        assert receiver.acted == ["job.completed job_1"]
