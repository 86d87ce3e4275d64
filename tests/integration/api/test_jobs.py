"""Reading, waiting for, canceling and retrying jobs, and whose they are."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.api import RunningApi
from tests.support.by_hand import ByHand
from tests.support.waiting import wait_until

UNKNOWN = "job_01HZZZZZZZZZZZZZZZZZZZZZZZ"
CALLS = [
    ("GET", ""),
    ("GET", "/events"),
    ("GET", "/deliveries"),
    ("GET", "/outputs/0"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
]


def post(client: httpx.Client, **fields: object) -> str:
    return str(client.post("/v1/jobs", json={"prompt": "x", **fields}).json()["id"])


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_another_tenants_job_answers_as_none_does(
    acme: httpx.Client, umbra: httpx.Client, operator: httpx.Client, method: str, path: str
) -> None:
    job_id = post(acme)
    foreign = umbra.request(method, f"/v1/jobs/{job_id}{path}")
    absent = umbra.request(method, f"/v1/jobs/{UNKNOWN}{path}")
    assert (foreign.status_code, foreign.json()) == (absent.status_code, absent.json())
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")
    assert acme.get(f"/v1/jobs/{job_id}").json()["status"] == "queued"
    assert operator.get(f"/v1/jobs/{job_id}").json()["id"] == job_id


@pytest.mark.parametrize("job_id", ["x", "job_", "job_*", "job_01hzzzzzzzzzzzzzzzzzzzzzzz", "%00", "job_" + "9" * 26])
def test_what_is_no_job_id_is_not_found(acme: httpx.Client, job_id: str) -> None:
    assert acme.get(f"/v1/jobs/{job_id}").status_code == 404


def test_waiting_answers_as_soon_as_the_job_is_terminal(acme: httpx.Client, api: RunningApi, by_hand: ByHand) -> None:
    job_id = post(acme)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(acme.get, f"/v1/jobs/{job_id}?wait=60", timeout=30)
        wait_until(lambda: api.watches == 1, what="the call to wait")
        by_hand.cancel(job_id)
        assert waiting.result(20).json()["status"] == "canceled"
    wait_until(lambda: api.watches == 0, what="the watch to end")


def test_waiting_is_not_over_with_a_status_that_is_not_terminal(
    acme: httpx.Client, api: RunningApi, by_hand: ByHand
) -> None:
    job_id = post(acme)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(acme.get, f"/v1/jobs/{job_id}?wait=60", timeout=30)
        wait_until(lambda: api.watches == 1, what="the call to wait")
        by_hand.generate(job_id)
        by_hand.fail(job_id)
        assert waiting.result(20).json()["status"] == "failed"


def test_waiting_ends_with_the_job_as_it_is(acme: httpx.Client) -> None:
    assert acme.get(f"/v1/jobs/{post(acme)}?wait=0.05").json()["status"] == "queued"


@pytest.mark.parametrize("wait", ["-1", "60.1", "61", "soon", "nan", "inf", ""])
def test_a_wait_out_of_bounds_is_refused(acme: httpx.Client, wait: str) -> None:
    answer = acme.get(f"/v1/jobs/{post(acme)}?wait={wait}")
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "wait"])


def test_a_waiting_job_is_canceled_at_once_for_nothing(acme: httpx.Client) -> None:
    answer = acme.post(f"/v1/jobs/{post(acme)}/cancel")
    job = answer.json()
    assert (answer.status_code, job["status"], job["cost"]["spent"]) == (200, "canceled", 0)
    assert job["finished_at"]
    assert job["queue_position"] is None


def test_an_admitted_job_is_canceled_at_once_for_nothing(acme: httpx.Client, by_hand: ByHand) -> None:
    job_id = post(acme)
    by_hand.admit(job_id)
    job = acme.post(f"/v1/jobs/{job_id}/cancel").json()
    assert (job["status"], job["cost"]["spent"]) == ("canceled", 0)


def test_a_job_whose_submit_is_under_way_notes_the_cancel(acme: httpx.Client, by_hand: ByHand) -> None:
    job_id = post(acme)
    by_hand.submit(job_id)
    answer = acme.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "submitting")
    assert answer.json()["cancel_requested_at"]


def test_a_generating_job_is_canceled_at_once_and_its_money_spent(acme: httpx.Client, by_hand: ByHand) -> None:
    job_id = post(acme, max_images=3)
    by_hand.generate(job_id)
    job = acme.post(f"/v1/jobs/{job_id}/cancel").json()
    assert (job["status"], job["cost"]["spent"], job["prediction_id"]) == ("canceled", 0.12, "prediction-1")


def test_a_finished_job_cannot_be_canceled(acme: httpx.Client) -> None:
    job_id = post(acme)
    acme.post(f"/v1/jobs/{job_id}/cancel")
    answer = acme.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_finished")


def test_a_job_that_is_not_over_cannot_be_retried(acme: httpx.Client, by_hand: ByHand) -> None:
    job_id = post(acme)
    answer = acme.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")
    by_hand.generate(job_id)
    by_hand.complete(job_id, ["a.png"])
    assert acme.post(f"/v1/jobs/{job_id}/retry?fresh=true").json()["code"] == "not_retryable"


def test_a_failed_job_goes_on_under_its_id(acme: httpx.Client, by_hand: ByHand) -> None:
    job_id = post(acme)
    by_hand.generate(job_id)
    by_hand.fail(job_id)
    assert acme.get(f"/v1/jobs/{job_id}").json()["error"]["code"] == "upstream_failed"
    answer = acme.post(f"/v1/jobs/{job_id}/retry")
    job = answer.json()
    assert (answer.status_code, job["id"], job["status"], job["attempt"]) == (200, job_id, "generating", 1), (
        "upstream is asked first"
    )
    by_hand.fail(job_id, moved=2)
    job = acme.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["attempt"], job["error"], job["cost"]["spent"]) == ("queued", 2, None, 0.04)


def test_a_retry_resumes_what_upstream_still_generates_unless_a_fresh_one_is_asked_for(
    acme: httpx.Client, by_hand: ByHand
) -> None:
    job_id = post(acme)
    by_hand.generate(job_id)
    acme.post(f"/v1/jobs/{job_id}/cancel")
    resumed = acme.post(f"/v1/jobs/{job_id}/retry").json()
    assert (resumed["status"], resumed["attempt"], resumed["cost"]["spent"]) == ("generating", 1, 0.04)
    acme.post(f"/v1/jobs/{job_id}/cancel")
    fresh = acme.post(f"/v1/jobs/{job_id}/retry?fresh=true").json()
    assert (fresh["status"], fresh["attempt"]) == ("queued", 2)


def test_a_job_with_an_unsettled_submit_is_not_bought_again(acme: httpx.Client, by_hand: ByHand) -> None:
    job_id = post(acme)
    by_hand.submit(job_id)
    by_hand.fail(job_id, "submit_unconfirmed")
    answer = acme.post(f"/v1/jobs/{job_id}/retry?fresh=true")
    assert (answer.status_code, answer.json()["code"]) == (409, "submit_unconfirmed")


def test_a_completed_job_shows_its_outputs_with_addresses_that_work(
    acme: httpx.Client, by_hand: ByHand, s3_object: str
) -> None:
    job_id = post(acme)
    by_hand.generate(job_id)
    by_hand.complete(job_id, [s3_object])
    job = acme.get(f"/v1/jobs/{job_id}").json()
    (output,) = job["outputs"]
    assert (job["status"], job["cost"]["images_delivered"], output["key"]) == ("completed", 1, s3_object)
    assert output["url_expires_at"] > job["finished_at"]
    assert httpx.get(output["url"], verify=False).content == b"png"


def test_an_outputs_address_redirects_to_a_fresh_url(acme: httpx.Client, by_hand: ByHand, s3_object: str) -> None:
    job_id = post(acme)
    by_hand.generate(job_id)
    assert acme.get(f"/v1/jobs/{job_id}/outputs/0").status_code == 404
    by_hand.complete(job_id, [s3_object])
    answer = acme.get(f"/v1/jobs/{job_id}/outputs/0")
    assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
    assert httpx.get(answer.headers["location"], verify=False).content == b"png"
    for index in ("1", "-1", "x", "00"):
        assert acme.get(f"/v1/jobs/{job_id}/outputs/{index}").status_code == 404
