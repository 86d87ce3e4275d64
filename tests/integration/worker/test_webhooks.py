"""Webhooks on real parts: a receiver that hangs, fails, is gone or comes back, and what its owner sees of it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from darkroom.webhooks.payload import MOST_BYTES
from tests.support.fleet import ADMIN_KEY, WEBHOOK_SECRET, Fleet
from tests.support.receiver import Received, Receiver
from tests.support.silent import Silent
from tests.support.waiting import wait_until

MakeFleet = Callable[..., Fleet]
AT_ONCE = 32


@pytest.fixture
def silent() -> Iterator[Silent]:
    with closing(Silent()) as listening:
        yield listening


@pytest.fixture
def other() -> Iterator[Receiver]:
    with closing(Receiver()) as listening:
        yield listening


def end(fleet: Fleet, url: str, count: int = 1, **fields: Any) -> list[str]:
    """End jobs before they cost anything, so that only their webhooks are left to be sent."""
    ids = [fleet.submit(webhook={"url": url}, **fields) for _ in range(count)]
    for job_id in ids:
        assert fleet.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    return ids


def pause(fleet: Fleet) -> None:
    """Let nothing more be admitted."""
    operator(fleet, "POST", "/v1/lanes/default/pause")


def operator(fleet: Fleet, method: str, path: str) -> Any:
    """Call as an operator."""
    answer = fleet.client.request(method, path, headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    assert answer.is_success, answer.text
    return answer.json()


def delivery(fleet: Fleet, job_id: str) -> dict[str, Any]:
    """Read a job's only delivery."""
    (found,) = fleet.client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
    shown: dict[str, Any] = found
    return shown


def ended(fleet: Fleet, job_id: str, status: str, *, timeout_s: float = 20) -> dict[str, Any]:
    """Wait until a job's delivery has this status."""
    return wait_until(
        lambda: found if (found := delivery(fleet, job_id))["status"] == status else None,
        timeout_s,
        what=f"{job_id} {status}",
    )


def test_a_receiver_that_hangs_holds_up_no_other_and_no_job(make_fleet: MakeFleet, silent: Silent) -> None:
    fleet = make_fleet(DARKROOM_WEBHOOK_TIMEOUT=60)
    fleet.start_worker()
    fleet.start_api()
    pause(fleet)
    hung = end(fleet, silent.url, AT_ONCE + 20)
    wait_until(lambda: silent.accepted == AT_ONCE, what="the receiver to hold all that one host gets")
    told = end(fleet, fleet.receiver.url, 40)
    operator(fleet, "POST", "/v1/lanes/default/resume")
    job_id = fleet.submit(webhook={"url": fleet.receiver.url})
    for good in (*told, job_id):
        wait_until(lambda good=good: fleet.receiver.of_job(good), what="the good receiver to be told")  # type: ignore[misc]
    assert silent.accepted == AT_ONCE
    assert {delivery(fleet, job)["status"] for job in hung} == {"pending"}
    (host,) = operator(fleet, "GET", "/v1/webhooks/hosts")["data"]
    assert host == {
        "host": f"127.0.0.1:{silent.port}",
        "tenant": "acme",
        "breaker": "closed",
        "failing_since": None,
        "next_probe_at": None,
        "attempts_under_way": AT_ONCE,
        "deliveries_waiting": 20,
    }


def test_a_host_that_fails_is_left_alone_but_for_probes_and_gets_all_once_it_is_back(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(DARKROOM_WEBHOOK_RETRY_SCHEDULE="0,1,1,1,600")
    worker = fleet.start_worker()
    fleet.start_api()
    pause(fleet)
    fleet.receiver.answers = [503] * 9
    ids = end(fleet, fleet.receiver.url, 40)
    wait_until(lambda: "webhook.breaker" in worker.output, what="the breaker to open")
    for job_id in ids:
        ended(fleet, job_id, "delivered", timeout_s=60)  # four probes may fail, 1, 2, 4 and 8 s apart
    assert operator(fleet, "GET", "/v1/webhooks/hosts")["data"] == []
    wait_until(lambda: worker.output.count("webhook.breaker") == 2, what="the breaker to close")
    assert {job["webhook_status"] for job in map(fleet.job, ids)} == {"delivered"}


def test_what_reached_nobody_is_found_and_recovered_under_the_same_ids(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(DARKROOM_WEBHOOK_RETRY_SCHEDULE="0,0.1")
    fleet.start_worker()
    fleet.start_api()
    pause(fleet)
    fleet.receiver.answers = [400] * 6
    ids = end(fleet, fleet.receiver.url, 3)
    lost = [ended(fleet, job_id, "exhausted") for job_id in ids]
    assert [[attempt["status_code"] for attempt in item["attempts"]] for item in lost] == [[400, 400]] * 3
    assert {fleet.job(job_id)["webhook_status"] for job_id in ids} == {"exhausted"}
    listed = fleet.client.get("/v1/deliveries").json()["data"]
    assert {item["id"] for item in listed} == {item["id"] for item in lost}
    answer = fleet.client.post("/v1/deliveries/recover", json={"since": listed[0]["attempts"][0]["at"]})
    assert (answer.status_code, answer.json()) == (202, {"recovered": 3})
    for job_id in ids:
        ended(fleet, job_id, "delivered")
        assert len({item.headers["webhook-id"] for item in fleet.receiver.of_job(job_id)}) == 1
    assert fleet.client.get("/v1/deliveries").json()["data"] == []


def test_410_stops_that_url_until_its_owner_wants_it_again(make_fleet: MakeFleet, other: Receiver) -> None:
    fleet = make_fleet()
    fleet.start_worker()
    fleet.start_api()
    pause(fleet)
    fleet.receiver.answers = [410]
    (first,) = end(fleet, fleet.receiver.url)
    ended(fleet, first, "gone")
    (second,) = end(fleet, fleet.receiver.url)
    assert (
        ended(fleet, second, "gone")["attempts"][0]["error"]
        == "not attempted: this URL has answered 410 Gone; redelivering to it lifts that"
    )
    assert fleet.receiver.of_job(second) == []
    (elsewhere,) = end(fleet, other.url)
    ended(fleet, elsewhere, "delivered")
    assert fleet.client.post(f"/v1/deliveries/{delivery(fleet, second)['id']}/redeliver").status_code == 202
    ended(fleet, second, "delivered")
    (third,) = end(fleet, fleet.receiver.url)
    ended(fleet, third, "delivered")


def test_every_attempt_shows_what_was_answered_and_when_the_next_one_comes(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(DARKROOM_WEBHOOK_RETRY_SCHEDULE="0,0.1,600")
    fleet.start_worker()
    fleet.start_api()
    pause(fleet)
    fleet.receiver.answers = [500, 404]
    fleet.receiver.says = "no such order " + "x" * 5_000
    (job_id,) = end(fleet, fleet.receiver.url)
    found = wait_until(lambda: item if len((item := delivery(fleet, job_id))["attempts"]) == 2 else None)
    assert [attempt["status_code"] for attempt in found["attempts"]] == [500, 404]
    assert all(attempt["response"].startswith("no such order x") for attempt in found["attempts"])
    assert all(len(attempt["response"]) == 1_000 for attempt in found["attempts"])
    assert all(attempt["at"] < attempt["next_attempt_at"] for attempt in found["attempts"])
    assert found["status"] == "pending"


def test_a_payload_is_under_20_kb_and_names_what_was_cut(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.start_worker()
    fleet.start_api()
    prompt = "fünfzehn Füchse \U0001f98a " * 500
    metadata = {f"key {number}": "ü" * 512 for number in range(16)}
    job_id = fleet.submit(prompt, max_images=15, metadata=metadata, webhook={"url": fleet.receiver.url})
    (told,) = wait_until(lambda: fleet.receiver.of_job(job_id), what="the webhook")
    assert len(told.body) <= MOST_BYTES
    assert told.event["truncated"][:3] == ["request.prompt", "request.metadata", "metadata values"]
    assert len(told.event["data"]["outputs"]) == 15
    assert told.event["data"]["links"] == fleet.job(job_id)["links"]


def test_a_tenants_secrets_sign_together_through_an_overlap_and_alone_after_it(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.start_worker()
    fleet.start_api()
    pause(fleet)

    def signers(*secrets: str) -> list[bool]:
        """Tell of a job, and say of each secret whether it has signed that."""
        (job_id,) = end(fleet, fleet.receiver.url)
        (told,) = wait_until(lambda: fleet.receiver.of_job(job_id), what="the webhook")
        return [verifies(secret, told) for secret in secrets]

    assert signers(WEBHOOK_SECRET) == [True]
    first = fleet.client.post("/v1/webhooks/secrets").json()["secret"]
    assert signers(first, WEBHOOK_SECRET) == [True, True]
    second = fleet.client.post("/v1/webhooks/secrets", json={"overlap_seconds": 600}).json()["secret"]
    assert signers(second, first, WEBHOOK_SECRET) == [True, True, True]
    third = fleet.client.post("/v1/webhooks/secrets", json={"overlap_seconds": 0}).json()["secret"]
    assert signers(third, second, first, WEBHOOK_SECRET) == [True, False, False, False]
    for secret in fleet.client.get("/v1/webhooks/secrets").json()["data"]:
        assert fleet.client.delete(f"/v1/webhooks/secrets/{secret['id']}").status_code == 204
    assert signers(third, WEBHOOK_SECRET) == [False, True]


def verifies(secret: str, told: Received) -> bool:
    """Whether the public library takes it with that secret."""
    try:
        Webhook(secret).verify(told.body, told.headers)
    except WebhookVerificationError:
        return False
    return True


def test_jobs_that_name_nobody_are_told_to_the_default_webhook(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.start_worker()
    fleet.start_api()
    assert fleet.client.put("/v1/webhooks/default", json={"url": fleet.receiver.url}).status_code == 200
    job_id = fleet.submit()
    (told,) = wait_until(lambda: fleet.receiver.of_job(job_id), what="the webhook")
    assert told.event["type"] == "job.completed"
    assert fleet.job(job_id)["request"]["webhook"] is None
