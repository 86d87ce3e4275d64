"""The address that upstream calls back: open, and of no use to anybody but upstream."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import redis
from pydantic import SecretStr

from api.app import create_app
from darkroom.store import callbacks, keys
from darkroom.store.callbacks import CallbackStore
from darkroom.store.connection import connect
from darkroom.upstream.callback_tokens import PATH, SendName, make_token
from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey, embedded_valkey
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.api.conftest import BUCKET
from tests.support.api import RunningApi, running_api
from tests.support.by_hand import ByHand
from tests.support.cell import Cell
from tests.support.settings import ACME, service_settings

SECRET = "whsec_of-the-simulator"
ENDED = {"id": "prediction-1", "status": "completed", "outputs": []}


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(webhook_secret=SECRET) as running:
        yield running


@pytest.fixture(scope="module")
def ingress(valkey_server: EmbeddedValkey, s3_server: EmbeddedS3, simulator: RunningSimulator) -> Iterator[RunningApi]:
    """Run an API that can ask upstream for its secret."""
    upstream = {"base_url": simulator.url, "api_key": SecretStr("ws_test")}
    settings = service_settings(valkey_server.url, s3=s3_server, bucket=BUCKET, **upstream)
    with running_api(create_app(settings)) as running:
        yield running


@pytest.fixture
def upstream(ingress: RunningApi, redis_url: str) -> Iterator[httpx.Client]:
    """Give a client without a key of ours."""
    with ingress.client() as client:
        yield client


@pytest.fixture
def sent(ingress: RunningApi, by_hand: ByHand, redis_url: str) -> str:
    """Give a job whose submit is under way."""
    with ingress.client(ACME) as client:
        job_id: str = client.post("/v1/jobs", json={"prompt": "a fox"}).json()["id"]
    by_hand.submit(job_id)
    return job_id


@pytest.fixture(autouse=True)
def fresh_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the key read each time: every test begins with an empty store, and the ingress lives on."""
    monkeypatch.setattr(callbacks, "READ_KEY_EVERY_S", 0.0)


def ours(client: redis.Redis) -> dict[str, Any]:
    return Cell.read(client, match=f"{keys.ROOT}*").values


def token_of(redis_url: str, job_id: str, *, attempt: int = 1, send: int = 1) -> str:
    async def made() -> str:
        async with aclosing(connect(redis_url)) as connection:
            return make_token(SendName(job_id, attempt, send), await CallbackStore(connection).key())

    return asyncio.run(made())


def call(
    client: httpx.Client, token: str, body: Any = ENDED, *, secret: str = SECRET, age_s: int = 0
) -> httpx.Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    timestamp = str(int(time.time()) - age_s)
    key = secret.removeprefix("whsec_").encode()
    signature = hmac.new(key, f"msg_1.{timestamp}.".encode() + raw, hashlib.sha256).hexdigest()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": f"v3,{signature}"}
    return client.post(PATH + token, content=raw, headers=headers | {"Content-Type": "application/json"})


def test_what_upstream_has_signed_is_recorded_and_may_come_again(
    upstream: httpx.Client, sent: str, redis_url: str, redis_client: redis.Redis
) -> None:
    token = token_of(redis_url, sent)
    for _ in range(2):
        answer = call(upstream, token)
        assert (answer.status_code, answer.content) == (204, b"")
    attempt = redis_client.hgetall(keys.attempt(sent, 1))
    assert (attempt["state"], attempt["prediction_id"]) == ("generating", "prediction-1")
    assert redis_client.hget(keys.TOTALS, "callbacks") == "1"


def test_a_forged_token_is_answered_like_any_address_that_is_not_there(
    upstream: httpx.Client, sent: str, redis_url: str, redis_client: redis.Redis
) -> None:
    token = token_of(redis_url, sent)
    forged = make_token(SendName(sent, 1, 1), b"another key")
    before = ours(redis_client)
    nowhere = upstream.post("/nowhere").json()
    for wrong in (forged, token[:-1], f"{token}x", token.replace(".1.", ".2.", 1), "x", "%00"):
        answer = call(upstream, wrong)
        assert (answer.status_code, answer.json()) == (404, nowhere)
    assert ours(redis_client) == before


@pytest.mark.parametrize("wrong", [{"secret": "whsec_guessed"}, {"age_s": 301}, {"age_s": -301}])
def test_what_upstream_has_not_signed_just_now_changes_nothing(
    upstream: httpx.Client, sent: str, redis_url: str, redis_client: redis.Redis, wrong: dict[str, Any]
) -> None:
    token = token_of(redis_url, sent)
    before = ours(redis_client)
    answer = call(upstream, token, **wrong)
    assert (answer.status_code, answer.json()["code"]) == (403, "invalid_signature")
    assert token not in answer.text
    unsigned = upstream.post(PATH + token, json=ENDED)
    assert (unsigned.status_code, unsigned.json()["code"]) == (403, "invalid_signature")
    assert ours(redis_client) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", {"status": "completed"}, {"id": ""}, {"id": "x" * 201}])
def test_what_is_signed_and_names_no_prediction_is_refused(
    upstream: httpx.Client, sent: str, redis_url: str, body: Any
) -> None:
    answer = call(upstream, token_of(redis_url, sent), body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_body_past_a_megabyte_is_not_read(upstream: httpx.Client, sent: str, redis_url: str) -> None:
    answer = call(upstream, token_of(redis_url, sent), {"id": "p1", "padding": "x" * 2**20})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_callback_about_a_job_that_is_gone_is_taken_and_forgotten(
    upstream: httpx.Client, sent: str, redis_url: str, redis_client: redis.Redis
) -> None:
    token = token_of(redis_url, "job_01KB0000000000000000000000")
    before = ours(redis_client)
    assert call(upstream, token).status_code == 204
    assert ours(redis_client) == before


def test_only_this_address_is_open(upstream: httpx.Client, redis_url: str) -> None:
    assert upstream.get("/v1/upstream/callback").status_code == 401
    assert upstream.get(f"{PATH}a/b").status_code == 404
    assert upstream.get(f"{PATH}x").status_code == 405
    assert upstream.get("/v1/jobs").status_code == 401
    document = upstream.get("/openapi.json").json()
    operation = document["paths"][PATH + "{token}"]["post"]
    assert operation["security"] == []
    assert {"204", "400", "403", "404", "413", "503"} <= set(operation["responses"])


def test_an_ingress_without_upstreams_key_asks_for_the_callback_later(api: RunningApi, redis_url: str) -> None:
    with api.client() as client:
        answer = call(client, token_of(redis_url, "job_1"))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def test_an_upstream_that_does_not_give_its_secret_now_is_asked_to_call_later(
    valkey_server: EmbeddedValkey, s3_server: EmbeddedS3, redis_url: str, sent: str
) -> None:
    with running_simulator(webhook_secret=SECRET) as simulator:
        simulator.fault("error_before", call="secret", times=3)
        upstream = {"base_url": simulator.url, "api_key": SecretStr("ws_test")}
        settings = service_settings(valkey_server.url, s3=s3_server, bucket=BUCKET, **upstream)
        with running_api(create_app(settings)) as ingress, ingress.client() as client:
            answer = call(client, token_of(redis_url, sent))
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            assert call(client, token_of(redis_url, sent)).status_code == 204


def test_a_store_that_is_away_makes_upstream_call_again(
    tmp_path_factory: pytest.TempPathFactory, s3_server: EmbeddedS3, simulator: RunningSimulator
) -> None:
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as server:
        upstream = {"base_url": simulator.url, "api_key": SecretStr("ws_test")}
        settings = service_settings(server.url, s3=s3_server, bucket=BUCKET, **upstream)
        with running_api(create_app(settings)) as ingress, ingress.client() as client:
            token = token_of(server.url, "job_01KB0000000000000000000000")
            assert call(client, token).status_code == 204
            server.kill()
            answer = call(client, token)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
