"""Paid is kept: what stands between upstream's outputs and the bucket costs time, and the bucket tells it right."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from mypy_boto3_s3 import S3Client

from simulator.testing import RunningSimulator
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

MakeFleet = Callable[..., Fleet]
OTHER_QUEUES = "dispatch,submit,notify"


def stored_late(fleet: Fleet, prompt: str, **fields: Any) -> str:
    """Bring a job as far as `storing` while nobody stores, and have it wait there for an hour, by its record."""
    fleet.start_worker("w1", "--queues", OTHER_QUEUES)
    fleet.start_api()
    job_id = fleet.submit(prompt, **fields)
    fleet.wait_for(job_id, "storing")
    fleet.redis.hincrby(f"{{darkroom}}:attempt:{job_id}:1", "storing_ms", -3_600_000)
    return job_id


def test_an_output_gets_its_grace_from_when_it_was_first_missed(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(DARKROOM_OUTPUT_GRACE_SECONDS=60)
    job_id = stored_late(fleet, "three foxes [[sim:missing=2,times=2]]", max_images=3)
    fleet.start_worker("w2", "--queues", "store")
    job = fleet.wait_for(job_id)
    assert (job["status"], job["cost"]["images_delivered"]) == ("completed", 3), job["error"]


@pytest.mark.parametrize("status", [401, 503])
def test_encoded_outputs_are_waited_for_while_upstream_can_not_be_asked(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator, status: int
) -> None:
    fleet = make_fleet(DARKROOM_OUTPUT_GRACE_SECONDS=1, DARKROOM_LANE_PROBE_SECONDS=1)
    job_id = stored_late(fleet, "two foxes", max_images=2, enable_base64_output=True)
    fault = fresh_simulator.fault("error_before", call="result", status=status)
    fleet.start_worker("w2", "--queues", "store")
    record = f"{{darkroom}}:attempt:{job_id}:1"
    wait_until(lambda: fleet.redis.hget(record, "store_tries"), what="storing was tried and put off")
    assert fleet.job(job_id)["status"] == "storing"
    fresh_simulator.clear_faults(fault)
    fleet.redis.zadd("{darkroom}:due", {f"j:{job_id}:1": 0}, xx=True)
    job = fleet.wait_for(job_id)
    assert (job["status"], job["cost"]["images_delivered"]) == ("completed", 2), job["error"]


def test_an_output_that_stays_away_fails_the_job_once_its_grace_is_over(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(DARKROOM_OUTPUT_GRACE_SECONDS=1)
    fleet.start_worker()
    fleet.start_api()
    job = fleet.wait_for(fleet.submit("three foxes [[sim:missing=2,times=all]]", max_images=3), timeout_s=40)
    assert (job["status"], job["error"]["code"], job["error"]["retryable"]) == ("failed", "output_unavailable", True)
    assert len(job["outputs"]) == 2


def test_a_completed_prediction_that_shows_no_outputs_fails_the_job_once_its_grace_is_over_and_is_not_bought_again(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet(DARKROOM_OUTPUT_GRACE_SECONDS=1)
    fleet.start_worker()
    fleet.start_api()
    job = fleet.wait_for(fleet.submit("three foxes [[sim:outputs=0]]", max_images=3), timeout_s=40)
    assert (job["status"], job["error"]["code"], job["error"]["retryable"]) == ("failed", "output_unavailable", True)
    assert (job["attempt"], len(fresh_simulator.predictions())) == (1, 1)


def test_late_outputs_do_not_push_the_jobs_own_out_of_its_description(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator, s3: S3Client
) -> None:
    fleet = make_fleet(DARKROOM_GENERATION_TIMEOUT_SECONDS=1, DARKROOM_POLL_MAX_SECONDS=1)
    fleet.start_worker()
    fleet.start_api()
    fresh_simulator.settings(inference_min_s=600, inference_max_s=600)
    job_id = fleet.submit()
    first = fleet.wait_for(job_id)
    assert first["error"]["code"] == "generation_timeout"
    fresh_simulator.settings(inference_min_s=0.1, inference_max_s=0.1)
    fleet.client.post(f"/v1/jobs/{job_id}/retry", params={"fresh": "true"})
    own = fleet.wait_for(job_id, "completed")
    fresh_simulator.complete(first["prediction_id"])
    job = wait_until(lambda: found if (found := fleet.job(job_id))["late_outputs"] else None, what="late outputs")
    folder = own["outputs"][0]["key"].partition("/attempt-2/")[0]
    kept = json.loads(s3.get_object(Bucket=own["outputs"][0]["bucket"], Key=f"{folder}/job.json")["Body"].read())
    assert [output["key"] for output in kept["outputs"]] == [output["key"] for output in own["outputs"]]
    assert [output["key"] for output in kept["late_outputs"]] == [output["key"] for output in job["late_outputs"]]
    assert (kept["prediction_id"], kept["status"], kept["finished_at"]) == (
        job["prediction_id"],
        "completed",
        job["finished_at"],
    )
