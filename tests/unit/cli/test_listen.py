"""`darkroom webhooks listen`: what it refuses, where its secret is from, and what it makes of a delivery."""

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import httpx
import pytest

from darkroom.cli.trial_receiver import MOST_BYTES, TrialReceiver
from darkroom.webhooks.signing import signed_headers
from tests.support.events import OTHER_SECRET as OLD
from tests.support.events import SECRET as NEW
from tests.support.events import event_body

FOREIGN = "whsec_aW52YWxpZGludmFsaWRpbnZhbGlk"
LISTEN = [sys.executable, "-m", "darkroom.cli", "webhooks", "listen"]


@pytest.fixture
def receiver() -> Iterator[TrialReceiver]:
    """Run a receiver that knows two secrets and takes three deliveries."""
    server = TrialReceiver(("127.0.0.1", 0), [OLD, NEW], status=204, most=3)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(receiver: TrialReceiver) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=receiver.url, timeout=10) as opened:
        yield opened


def listen(*arguments: str, directory: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a directory until it ends."""
    return subprocess.run(
        [*LISTEN, *arguments], cwd=directory, env=os.environ | env, capture_output=True, text=True, timeout=60
    )


def signed(body: bytes, event_id: str = "evt_1", secret: str = NEW) -> dict[str, str]:
    """Sign a body now."""
    return signed_headers(event_id=event_id, body=body, secrets=[secret], now_s=time.time())


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = listen("--port", str(port), "--secret", NEW, directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"darkroom: --port: 127.0.0.1:{port} can't be listened on: Address already in use\n"


@pytest.mark.parametrize(
    "given", ["hunter2", "whsec_hunter2!", "whsec_", "", f"{NEW},hunter2", "whsec_hünter2"], ids=repr
)
def test_a_secret_that_is_none_is_refused_and_not_shown(given: str, tmp_path: Path) -> None:
    done = listen("--secret", given, directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "darkroom: --secret: a secret is whsec_ and base64; several are separated by commas\n"


def test_without_a_secret_it_says_where_one_could_be(tmp_path: Path) -> None:
    done = listen(directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("darkroom: --secret: ")
    assert "DARKROOM_WEBHOOK_SECRET" in line
    assert ".darkroom/webhook-secret" in line


def test_each_post_is_verified_with_any_of_the_secrets_and_repeats_are_known(
    receiver: TrialReceiver, client: httpx.Client
) -> None:
    body = event_body(job_id="job_7")
    for secret, status in ((OLD, 204), (FOREIGN, 401), (NEW, 204)):
        assert client.post("", content=body, headers=signed(body, secret=secret)).status_code == status
    first, foreign, again = (receiver.arrivals.get(timeout=10) for _ in range(3))
    assert (first.problem, first.webhook_id, first.type, first.job_id, first.status, first.size_bytes) == (
        None,
        "evt_1",
        "job.completed",
        "job_7",
        "completed",
        len(body),
    )
    assert [first.repeat, foreign.repeat, again.repeat] == [False, False, True]
    assert [first.answered, foreign.answered, again.answered] == [204, 401, 204]
    assert foreign.problem == "No matching signature found"


def test_what_does_not_verify_makes_no_id_a_repeat(receiver: TrialReceiver, client: httpx.Client) -> None:
    body = event_body()
    client.post("", content=body, headers=signed(body, secret=FOREIGN))
    client.post("", content=body, headers=signed(body))
    assert [receiver.arrivals.get(timeout=10).repeat for _ in range(2)] == [False, False]


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"null", b'{"data": []}', b'{"type": 1, "data": {"id": {}, "status": []}}', b"[" * 500_000],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_event_is_shown_without_one(
    body: bytes, receiver: TrialReceiver, client: httpx.Client
) -> None:
    assert client.post("", content=body).status_code == 401
    arrival = receiver.arrivals.get(timeout=10)
    assert arrival.problem
    assert (arrival.type, arrival.job_id, arrival.status, arrival.webhook_id) == (None, None, None, None)


@pytest.mark.parametrize("signature", ["v1,%%%", "v1", "nonsense", f"v1,{base64.b64encode(bytes(32)).decode()}"])
def test_a_broken_signature_is_a_problem_and_no_crash(
    signature: str, receiver: TrialReceiver, client: httpx.Client
) -> None:
    body = event_body()
    headers = signed(body) | {"webhook-signature": signature}
    assert client.post("", content=body, headers=headers).status_code == 401
    assert receiver.arrivals.get(timeout=10).problem


def test_a_body_past_the_bound_is_refused_unread(receiver: TrialReceiver) -> None:
    with closing(socket.create_connection(receiver.server_address[:2], timeout=10)) as sender:  # type: ignore[arg-type]
        sender.sendall(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST_BYTES + 1}\r\n\r\n".encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 413 ")
    assert receiver.arrivals.empty()


def test_a_body_of_unsaid_length_and_another_method_are_refused(receiver: TrialReceiver, client: httpx.Client) -> None:
    assert client.post("", content=iter([b"{}"])).status_code == 411
    looked = client.get("")
    assert (looked.status_code, looked.headers["Allow"]) == (405, "POST")
    assert receiver.arrivals.empty()


def test_more_than_was_asked_for_is_not_taken(receiver: TrialReceiver, client: httpx.Client) -> None:
    body = event_body()
    codes = [client.post("", content=body, headers=signed(body, f"evt_{number}")).status_code for number in range(5)]
    assert codes == [204, 204, 204, 503, 503]
    assert [receiver.arrivals.get(timeout=10).webhook_id for _ in range(3)] == ["evt_0", "evt_1", "evt_2"]


def test_help_shows_an_example(tmp_path: Path) -> None:
    done = listen("--help", directory=tmp_path, COLUMNS="200")
    assert done.returncode == 0
    assert "Example: darkroom webhooks listen" in done.stdout
