"""Operators, and nobody else, settle what reconciliation had to leave open."""

import httpx
import pytest

from tests.support.by_hand import ByHand

UNKNOWN = "job_01HZZZZZZZZZZZZZZZZZZZZZZZ"


@pytest.fixture
def job_id(acme: httpx.Client, by_hand: ByHand) -> str:
    made = str(acme.post("/v1/jobs", json={"prompt": "x", "max_images": 2}).json()["id"])
    by_hand.leave_open(made)
    return made


def test_adopted_prediction_is_the_jobs_from_then_on(operator: httpx.Client, job_id: str) -> None:
    answer = operator.post(f"/v1/jobs/{job_id}/resolve", json={"action": "adopt", "prediction_id": "found"})
    job = answer.json()
    assert (answer.status_code, job["status"], job["prediction_id"], job["error"]) == (200, "generating", "found", None)


def test_resubmitted_job_waits_for_a_second_attempt_and_the_first_stays_counted(
    operator: httpx.Client, job_id: str
) -> None:
    job = operator.post(f"/v1/jobs/{job_id}/resolve", json={"action": "resubmit"}).json()
    assert (job["status"], job["attempt"], job["cost"]["spent"]) == ("queued", 2, 0.08)


def test_given_up_the_owner_may_retry(operator: httpx.Client, acme: httpx.Client, job_id: str) -> None:
    refused = acme.post(f"/v1/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "submit_unconfirmed")
    job = operator.post(f"/v1/jobs/{job_id}/resolve", json={"action": "give_up"}).json()
    assert (job["status"], job["error"]["retryable"]) == ("failed", True)
    assert acme.post(f"/v1/jobs/{job_id}/retry").json()["status"] == "queued"


def test_a_tenant_cannot_resolve_even_its_own_job(acme: httpx.Client, job_id: str) -> None:
    answer = acme.post(f"/v1/jobs/{job_id}/resolve", json={"action": "give_up"})
    assert (answer.status_code, answer.json()["code"]) == (403, "operators_only")


def test_nothing_to_resolve_is_a_conflict_and_no_job_is_none(operator: httpx.Client, acme: httpx.Client) -> None:
    waiting = acme.post("/v1/jobs", json={"prompt": "x"}).json()["id"]
    answer = operator.post(f"/v1/jobs/{waiting}/resolve", json={"action": "resubmit"})
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_resolve")
    assert operator.post(f"/v1/jobs/{UNKNOWN}/resolve", json={"action": "resubmit"}).status_code == 404


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "action"]),
        ({"action": "delete"}, ["body", "action"]),
        ({"action": "adopt"}, ["body", "prediction_id"]),
        ({"action": "resubmit", "prediction_id": "p"}, ["body", "prediction_id"]),
        ({"action": "adopt", "prediction_id": ""}, ["body", "prediction_id"]),
        ({"action": "adopt", "prediction_id": "a b"}, ["body", "prediction_id"]),
        ({"action": "adopt", "prediction_id": "p", "forced": True}, ["body", "forced"]),
    ],
)
def test_wrong_resolution_is_named_and_settles_nothing(
    operator: httpx.Client, job_id: str, body: dict[str, object], loc: list[str]
) -> None:
    answer = operator.post(f"/v1/jobs/{job_id}/resolve", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc)
    assert operator.get(f"/v1/jobs/{job_id}").json()["status"] == "failed"
