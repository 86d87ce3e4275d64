"""Money as its owner sees it: each attempt with its cost, budgets that hold a tenant and nobody else."""

import json
from collections.abc import Callable

import httpx
from mypy_boto3_s3 import S3Client

from simulator.testing import RunningSimulator
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

MakeFleet = Callable[..., Fleet]
ATTEMPTS = {5000: 3, 5003: 3, 5004: 3, 1403: 2, 1405: 2, 1200: 1, 1400: 1, 1401: 1, 1402: 1}
"""How often upstream is asked when it always fails with that code, with three attempts allowed."""


def test_failures_are_replaced_as_often_as_their_kind_allows_and_each_attempt_shows_its_cost(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet(DARKROOM_MAX_ATTEMPTS=3)
    fleet.start_worker()
    fleet.start_api()
    jobs = {
        code: fleet.submit(f"fox {code} [[sim:fail={code}]]", max_images=2, webhook={"url": fleet.receiver.url})
        for code in ATTEMPTS
    }
    for code, job_id in jobs.items():
        job = fleet.wait_for(job_id, timeout_s=60)
        assert (job["status"], job["attempt"], len(job["attempts"])) == ("failed", ATTEMPTS[code], ATTEMPTS[code]), code
        assert fresh_simulator.ledger(f"fox {code} ")["totals"]["predictions"] == ATTEMPTS[code]
        assert [item["attempt"] for item in job["attempts"]] == list(range(1, ATTEMPTS[code] + 1))
        for item in job["attempts"]:
            assert (item["status"], item["submits"], item["spent"]) == ("failed", 1, 0.08)
            assert item["error"] == {key: job["error"][key] for key in ("code", "message")}
            assert item["submitted_at"] < item["finished_at"]
        assert len({item["prediction_id"] for item in job["attempts"]}) == ATTEMPTS[code]
        assert round(sum(item["spent"] for item in job["attempts"]), 2) == job["cost"]["spent"]
        told = wait_until(lambda job_id=job_id: fleet.receiver.of_job(job_id))[0].event["data"]
        assert told["attempts"] == job["attempts"]
    today = fleet.client.get("/v1/usage").json()["data"][-1]
    assert today["spent_usd"] == today["refundable_usd"] == round(0.08 * sum(ATTEMPTS.values()), 2)


def test_replaced_attempt_stays_visible_with_its_cost_on_a_completed_job(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator, s3: S3Client
) -> None:
    fleet = make_fleet(DARKROOM_POLL_MAX_SECONDS=1)
    fleet.start_worker()
    fleet.start_api()
    job_id = fleet.submit("a fox [[sim:fail=5003,times=1]]", max_images=2)
    job = fleet.wait_for(job_id)
    assert (job["status"], job["attempt"], job["cost"]["spent"]) == ("completed", 2, 0.16), job["error"]
    assert [(item["status"], item["spent"]) for item in job["attempts"]] == [("failed", 0.08), ("completed", 0.08)]
    folder = job["outputs"][0]["key"].partition("/attempt-2/")[0]
    kept = json.loads(s3.get_object(Bucket=job["outputs"][0]["bucket"], Key=f"{folder}/job.json")["Body"].read())
    assert [item["status"] for item in kept["attempts"]] == ["failed", "completed"]
    assert kept["attempts"][0] == job["attempts"][0]


def test_prediction_that_outlives_its_jobs_time_is_stored_late_and_told_of(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet(DARKROOM_GENERATION_TIMEOUT_SECONDS=1, DARKROOM_POLL_MAX_SECONDS=1)
    fleet.start_worker()
    fleet.start_api()
    fresh_simulator.settings(inference_min_s=600, inference_max_s=600)
    job_id = fleet.submit(webhook={"url": fleet.receiver.url, "events": ["job.failed", "job.outputs_late"]})
    job = fleet.wait_for(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "generation_timeout")
    assert [(item["status"], item["spent"]) for item in job["attempts"]] == [("generating", 0.04)]
    fresh_simulator.complete(job["prediction_id"])
    told = wait_until(lambda: found if len(found := fleet.receiver.of_job(job_id)) == 2 else None, what="both webhooks")
    assert [item.event["type"] for item in told] == ["job.failed", "job.outputs_late"]
    late = told[1].event["data"]
    assert (late["status"], len(late["late_outputs"]), late["attempts"][0]["status"]) == ("failed", 1, "completed")
    assert httpx.get(late["late_outputs"][0]["url"]).status_code == 200
    assert (late["attempt"], late["cost"]["spent"]) == (1, 0.04)


def test_tenant_over_its_budget_waits_and_others_go_on_until_it_is_raised(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet(DARKROOM_DAILY_BUDGET_USD="acme:0.14,*:5")
    worker = fleet.start_worker()
    api = fleet.start_api()
    jobs = [fleet.submit(f"fox {number}", max_images=2) for number in range(3)]
    passing = fleet.submit("a fox that waits in vain", max_images=2, expires_in=2)
    assert fleet.wait_for(jobs[0])["status"] == "completed"
    wait_until(lambda: fleet.job(jobs[1])["held"], what="the next job says what holds it")
    other = fleet.client.post(
        "/v1/jobs", json={"prompt": "a wolf", "max_images": 9}, headers={"Authorization": "Bearer dk_other"}
    ).json()
    record = f"{{darkroom}}:job:{other['id']}"
    wait_until(lambda: fleet.redis.hget(record, "status") == "completed", what="another tenant's job")
    expired = fleet.wait_for(passing)
    assert (expired["status"], expired["cost"]["spent"], expired["attempts"][0]["spent"]) == ("expired", 0, 0)
    for job_id in jobs[1:]:
        waiting = fleet.job(job_id)
        assert (waiting["status"], waiting["held"], waiting["cost"]["spent"]) == ("queued", "budget", 0)
    usage = fleet.client.get("/v1/usage").json()
    assert (usage["budget_usd"], usage["budget_left_usd"], usage["total"]["spent_usd"]) == (0.12, 0.04, 0.08)
    [line] = fleet.client.get("/v1/status").json()["line"]["tenants"]
    assert (line["tenant"], line["depth"], line["held"]) == ("acme", 2, "budget")
    assert "darkroom_budget_held_tenants 1.0" in fleet.client.get("/metrics").text
    worker.stop()
    api.stop()
    fleet.start_worker("w2", DARKROOM_DAILY_BUDGET_USD="acme:1")
    fleet.start_api(DARKROOM_DAILY_BUDGET_USD="acme:1")
    assert {job["status"] for job in fleet.wait_for_all(jobs)} == {"completed"}
    assert fresh_simulator.ledger("fox")["totals"]["predictions"] == 3
