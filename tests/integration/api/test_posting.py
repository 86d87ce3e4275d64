"""Posting jobs: what is answered, what is kept, and what a repeated call makes of it."""

import base64
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from darkroom import messages
from darkroom.jobs import Job
from darkroom.store import keys
from tests.support.api import RunningApi
from tests.support.settings import ACME
from tests.support.waiting import wait_until

FULL = {
    "prompt": "A fox finds a lantern",
    "size": "4096x2304",
    "max_images": 4,
    "enable_base64_output": True,
    "enable_sync_mode": True,
    "webhook": {"url": "https://example.com/hook?token=t", "events": ["job.completed"]},
    "metadata": {"order": "1234"},
    "priority": "high",
    "expires_in": 60,
    "custom_id": "panel-17",
}

QUEUE = f"{messages.KEY_PREFIX}{messages.QUEUES[messages.DISPATCH]}"


def test_a_job_is_answered_as_the_contract_shows_it(acme: httpx.Client) -> None:
    answer = acme.post("/v1/jobs", json=FULL)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert "idempotent-replayed" not in answer.headers
    assert set(job) == set(Job.model_fields)
    assert job["request"] == FULL | {"size": "4096*2304"}
    assert (job["status"], job["queue_position"], job["attempt"], job["submits"]) == ("queued", 1, 1, 0)
    assert job["cost"] == {
        "currency": "USD",
        "unit_price": 0.04,
        "estimated": 0.16,
        "spent": 0,
        "images_requested": 4,
        "images_delivered": 0,
    }
    assert acme.get(answer.headers["location"]).json() == job
    Job.model_validate_json(answer.content)


def test_defaults_are_filled_in(acme: httpx.Client) -> None:
    job = acme.post("/v1/jobs", json={"prompt": "x"}).json()
    assert (job["request"]["size"], job["request"]["max_images"], job["priority"]) == ("2048*2048", 1, "normal")
    assert (job["custom_id"], job["metadata"], job["batch_id"]) == (None, {}, None)


def test_the_place_in_the_line_counts_from_one(acme: httpx.Client) -> None:
    places = [acme.post("/v1/jobs", json={"prompt": "x"}).json()["queue_position"] for _ in range(3)]
    assert places == [1, 2, 3]


def test_a_job_wakes_dispatch_by_one_message_that_celery_reads(acme: httpx.Client, redis_client: redis.Redis) -> None:
    for _ in range(5):
        acme.post("/v1/jobs", json={"prompt": "x"})
    wait_until(lambda: redis_client.llen(QUEUE), what="a message in the queue")
    assert redis_client.llen(QUEUE) == 1
    message = json.loads(str(redis_client.lindex(QUEUE, 0)))
    assert message["headers"]["task"] == "darkroom.dispatch"
    assert message["content-type"] == "application/json"
    assert json.loads(base64.b64decode(message["body"]))[0] == [1]


def test_the_same_key_and_body_give_the_first_job(acme: httpx.Client, redis_client: redis.Redis) -> None:
    first = acme.post("/v1/jobs", json={"prompt": "x", "max_images": 2}, headers={"Idempotency-Key": "k"})
    again = acme.post(
        "/v1/jobs", content=b' {"max_images": 2, "size": "2048x2048", "prompt": "x"}',
        headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
    )  # fmt: skip
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])
    assert again.json() == first.json()
    assert redis_client.hget(keys.DEPTH, "*|jobs") == "1"


def test_the_same_key_with_another_body_is_refused(acme: httpx.Client, redis_client: redis.Redis) -> None:
    acme.post("/v1/jobs", json={"prompt": "x"}, headers={"Idempotency-Key": "k"})
    answer = acme.post("/v1/jobs", json={"prompt": "y"}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert redis_client.hget(keys.DEPTH, "*|jobs") == "1"


def test_a_key_is_a_tenants_own(acme: httpx.Client, umbra: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k"}
    mine = acme.post("/v1/jobs", json={"prompt": "x"}, headers=headers)
    other = umbra.post("/v1/jobs", json={"prompt": "x"}, headers=headers)
    assert mine.json()["id"] != other.json()["id"]
    assert "idempotent-replayed" not in other.headers


def test_a_replay_whose_job_is_gone_says_so_and_makes_none(acme: httpx.Client, redis_client: redis.Redis) -> None:
    headers = {"Idempotency-Key": "k"}
    job_id = acme.post("/v1/jobs", json={"prompt": "x"}, headers=headers).json()["id"]
    redis_client.delete(keys.job(job_id))
    answer = acme.post("/v1/jobs", json={"prompt": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_result_gone")


def test_a_key_is_kept_for_a_day_at_least(acme: httpx.Client, redis_client: redis.Redis) -> None:
    acme.post("/v1/jobs", json={"prompt": "x"}, headers={"Idempotency-Key": "k"})
    (key,) = redis_client.keys("{darkroom}:idem:*")
    assert redis_client.ttl(key) >= 86_400
    assert str(key).rpartition(":")[2] != "k"


@pytest.mark.parametrize("key", ["", "two words", "k" * 256, "é", "tab\there"])
def test_a_key_that_is_not_visible_ascii_is_refused(acme: httpx.Client, redis_client: redis.Redis, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = acme.post("/v1/jobs", json={"prompt": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert redis_client.keys(f"{keys.ROOT}*") == []  # a wake-up call for the job of a test before may still come


def test_two_keys_in_one_call_are_refused(acme: httpx.Client) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert acme.post("/v1/jobs", json={"prompt": "x"}, headers=headers).json()["code"] == "invalid_idempotency_key"


@pytest.mark.parametrize("key", ["!", "~" * 255, "a:b{c}*"])
def test_every_key_of_visible_ascii_is_taken(acme: httpx.Client, key: str) -> None:
    assert acme.post("/v1/jobs", json={"prompt": "x"}, headers={"Idempotency-Key": key}).status_code == 202


def test_fifty_calls_at_once_with_one_key_make_one_job(api: RunningApi, redis_client: redis.Redis) -> None:
    def post(_: int) -> httpx.Response:
        with api.client(ACME) as client:
            return client.post("/v1/jobs", json={"prompt": "x"}, headers={"Idempotency-Key": "k"})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Counter(answer.headers.get("idempotent-replayed") for answer in answers) == {None: 1, "true": 49}
    assert redis_client.hget(keys.DEPTH, "*|jobs") == "1"


def test_a_full_line_is_told_with_when_to_come_back_and_holds_up_nobody_else(
    acme: httpx.Client, umbra: httpx.Client, redis_client: redis.Redis
) -> None:
    for number in range(60):
        assert acme.post("/v1/jobs", json={"prompt": "x"}, headers={"Idempotency-Key": str(number)}).is_success
    answer = acme.post("/v1/jobs", json={"prompt": "x"})
    assert (answer.status_code, answer.json()["code"]) == (429, "line_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert redis_client.hget(keys.DEPTH, "*|jobs") == "60"
    assert umbra.post("/v1/jobs", json={"prompt": "x"}).status_code == 202
    replay = acme.post("/v1/jobs", json={"prompt": "x"}, headers={"Idempotency-Key": "0"})
    assert replay.headers["idempotent-replayed"] == "true"


def test_a_secret_in_a_webhook_address_is_no_part_of_a_key(acme: httpx.Client, redis_client: redis.Redis) -> None:
    acme.post("/v1/jobs", json=FULL)
    assert not [key for key in redis_client.keys("*") if "token" in str(key)]
