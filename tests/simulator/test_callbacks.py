"""Callbacks: signed as the vendor documents, retried, doubled, late, spoiled."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator

import pytest

from simulator.testing import RunningSimulator
from tests.simulator.helpers import CallbackReceiver, Client, Received, receiving_callbacks


@pytest.fixture
def receiver(sim: RunningSimulator) -> Iterator[CallbackReceiver]:
    sim.settings(allow_http_callbacks=True, callback_retry_s=0.01)
    with receiving_callbacks() as running:
        yield running


def is_genuine(client: Client, received: Received) -> bool:
    """Verify a callback from the vendor's description alone."""
    secret = client.http.get("/api/v3/webhook/secret").json()["data"]["secret"].split("whsec_")[1].encode()
    headers = received.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + received.body
    expected = "v3," + hmac.new(secret, signed, hashlib.sha256).hexdigest()
    return headers["webhook-signature"] == expected and abs(int(headers["webhook-timestamp"]) - received.at) < 300


def test_the_bare_prediction_is_posted_and_signed(client: Client, receiver: CallbackReceiver) -> None:
    prediction_id = client.created(webhook=receiver.url, max_images=2)
    (received,) = receiver.wait(1)
    body = json.loads(received.body)
    assert (body["id"], body["status"], len(body["outputs"])) == (prediction_id, "completed", 2)
    assert is_genuine(client, received)


def test_failures_are_called_back_too(client: Client, receiver: CallbackReceiver) -> None:
    client.created("a [[sim:fail=1200]]", webhook=receiver.url)
    assert json.loads(receiver.wait(1)[0].body)["code"] == 1200


def test_a_refused_callback_is_tried_three_more_times(client: Client, sim: RunningSimulator) -> None:
    sim.settings(allow_http_callbacks=True, callback_retry_s=0.001)
    with receiving_callbacks(500, 500, 404, 503, 500) as receiver:
        client.created(webhook=receiver.url)
        sim.wait_until(lambda: sim.stats()["callbacks"]["given_up"] == 1)
        assert len(receiver.received) == 4
        assert len({received.headers["webhook-id"] for received in receiver.received}) == 1


def test_callbacks_can_be_doubled_spoiled_stale_or_never_come(
    client: Client, sim: RunningSimulator, receiver: CallbackReceiver
) -> None:
    client.created("a [[sim:callback_duplicate=3]]", webhook=receiver.url)
    assert len({received.headers["webhook-id"] for received in receiver.wait(3)}) == 1
    assert all(is_genuine(client, received) for received in receiver.received)
    client.created("b [[sim:callback_bad_signature]]", webhook=receiver.url)
    assert not is_genuine(client, receiver.wait(4)[3])
    client.created("c [[sim:callback_stale=3600]]", webhook=receiver.url)
    assert not is_genuine(client, receiver.wait(5)[4])
    client.done(client.created("d [[sim:callback_never]]", webhook=receiver.url))
    client.created("e [[sim:callback_late=0.05]]", webhook=receiver.url)
    last = json.loads(receiver.wait(6)[5].body)
    assert client.list()["items"][0]["id"] == last["id"], "the one before never came"


def test_a_callback_can_come_before_the_submits_answer(client: Client, receiver: CallbackReceiver) -> None:
    answer = client.submit("a [[sim:callback_before_answer]]", webhook=receiver.url)
    assert len(receiver.received) == 1, "it was there when the answer came"
    assert json.loads(receiver.received[0].body)["id"] == answer.json()["data"]["id"]


@pytest.mark.parametrize("url", ["http://example.com/hook", "ftp://example.com", "nonsense", "https://"])
def test_only_https_is_called(client: Client, url: str) -> None:
    assert client.submit(webhook=url).status_code == 400


def test_loopback_http_needs_the_setting_and_is_for_loopback_only(client: Client, sim: RunningSimulator) -> None:
    assert client.submit(webhook="http://127.0.0.1:9/hook").status_code == 400
    sim.settings(allow_http_callbacks=True)
    assert client.submit(webhook="http://192.0.2.1/hook").status_code == 400
