"""No empty balance, bad key or dead upstream turns a waiting job into a failed one: the lane pauses and resumes."""

from typing import Any

import pytest
from mypy_boto3_s3 import S3Client

from simulator.testing import RunningSimulator
from tests.support.fleet import ADMIN_KEY, Fleet
from tests.support.waiting import wait_until


@pytest.fixture
def own(make_fleet: Any) -> Fleet:
    """Run an api and a worker that probe a paused lane every second."""
    fleet: Fleet = make_fleet(DARKROOM_LANE_PROBE_SECONDS=1)
    fleet.start_worker()
    fleet.start_api()
    return fleet


def lane_of(fleet: Fleet) -> dict[str, Any]:
    lane: dict[str, Any] = fleet.client.get("/v1/status").json()["lanes"][0]
    return lane


def test_an_empty_balance_pauses_the_lane_until_it_is_filled(own: Fleet, fresh_simulator: RunningSimulator) -> None:
    fresh_simulator.settings(balance=0.0)
    jobs = [own.submit(f"fox {i}") for i in range(3)]
    wait_until(lambda: lane_of(own)["state"] == "paused")
    assert lane_of(own)["reason"] == "balance"
    for job_id in jobs:
        job = own.job(job_id)
        assert (job["status"], job["attempt"], job["cost"]["spent"]) == ("queued", 1, 0)
    fresh_simulator.settings(balance=100.0)
    assert {job["status"] for job in own.wait_for_all(jobs)} == {"completed"}
    assert lane_of(own)["state"] == "open"


def test_a_dead_upstream_pauses_the_lane_and_waiting_jobs_wait(own: Fleet, fresh_simulator: RunningSimulator) -> None:
    with fresh_simulator.outage():
        jobs = [own.submit(f"fox {i}") for i in range(5)]
        wait_until(lambda: lane_of(own)["reason"] == "upstream")
        assert {own.job(job_id)["status"] for job_id in jobs} == {"queued"}
    jobs = own.wait_for_all(jobs)
    assert {(job["status"], job["attempt"], job["cost"]["spent"]) for job in jobs} == {("completed", 1, 0.04)}


def test_an_operators_pause_stands_until_an_operator_ends_it(own: Fleet) -> None:
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    assert own.client.post("/v1/lanes/default/pause").status_code == 403
    assert own.client.post("/v1/lanes/default/pause", headers=admin).status_code == 200
    job_id = own.submit()
    assert lane_of(own)["reason"] == "operator"
    own.client.post("/v1/lanes/default/resume", headers=admin)
    assert own.wait_for(job_id)["status"] == "completed"


def test_an_upstream_whose_name_does_not_resolve_keeps_no_worker_from_starting(make_fleet: Any) -> None:
    fleet: Fleet = make_fleet(WAVESPEED_BASE_URL="http://upstream.invalid")
    fleet.start_worker()
    fleet.start_api()
    jobs = [fleet.submit(f"fox {i}") for i in range(4)]
    wait_until(lambda: lane_of(fleet)["reason"] == "upstream")
    assert {fleet.job(job_id)["status"] for job_id in jobs} == {"queued"}


def test_a_missing_bucket_pauses_the_lane_and_everything_drains_once_it_is_there(make_fleet: Any, s3: S3Client) -> None:
    fleet: Fleet = make_fleet(
        DARKROOM_S3_BUCKET="not-there-yet", DARKROOM_LANE_PROBE_SECONDS=1, WAVESPEED_MAX_CONCURRENCY=2
    )
    fleet.start_worker()
    fleet.start_api()
    jobs = [fleet.submit(f"fox {i}") for i in range(6)]
    wait_until(lambda: lane_of(fleet)["reason"] == "storage", 30)
    assert {fleet.job(job_id)["status"] for job_id in jobs} & {"completed", "failed"} == set()
    s3.create_bucket(Bucket="not-there-yet")
    wait_until(lambda: lane_of(fleet)["state"] == "open", 30)
    for job_id in jobs:
        fleet.redis.zadd("{darkroom}:due", {f"j:{job_id}:1": 0}, xx=True)
    done = fleet.wait_for_all(jobs)
    assert {(job["status"], job["attempt"], job["cost"]["spent"]) for job in done} == {("completed", 1, 0.04)}


def test_too_many_unstored_images_pause_the_lane_and_copies_go_on(make_fleet: Any) -> None:
    fleet: Fleet = make_fleet(DARKROOM_MAX_UNSTORED_IMAGES=2, WAVESPEED_MAX_CONCURRENCY=1)
    fleet.start_worker("w1", "--queues", "dispatch,submit,notify")
    fleet.start_api()
    jobs = [fleet.submit(f"fox {i}", max_images=2) for i in range(2)]
    wait_until(lambda: lane_of(fleet)["reason"] == "storage", 30)
    assert sorted(fleet.job(job_id)["status"] for job_id in jobs) == ["queued", "storing"]
    fleet.start_worker("w2", "--queues", "store")
    assert {job["status"] for job in fleet.wait_for_all(jobs)} == {"completed"}


def test_an_account_without_a_balance_call_is_tried_by_one_job_at_a_time(
    make_fleet: Any, fresh_simulator: RunningSimulator
) -> None:
    fresh_simulator.settings(balance=0.0)
    fresh_simulator.fault("not_found", call="balance")
    fleet: Fleet = make_fleet(DARKROOM_LANE_PROBE_SECONDS=1)
    fleet.start_worker()
    fleet.start_api()
    jobs = [fleet.submit("fox 0")]
    wait_until(lambda: lane_of(fleet)["reason"] == "balance")
    jobs += [fleet.submit(f"fox {i}") for i in range(1, 6)]
    trials = "{darkroom}:lane:default"
    wait_until(lambda: int(str(fleet.redis.hget(trials, "trials") or 0)) >= 2, 30)
    submits = sum(fleet.job(job_id)["submits"] for job_id in jobs)
    assert submits <= 1 + int(str(fleet.redis.hget(trials, "trials")))
    fresh_simulator.settings(balance=100.0)
    assert {job["status"] for job in fleet.wait_for_all(jobs)} == {"completed"}
    assert lane_of(fleet)["reason"] is None


@pytest.mark.parametrize("style", ["seconds", "date"])
def test_retry_after_is_honoured_in_both_forms(make_fleet: Any, fresh_simulator: RunningSimulator, style: str) -> None:
    fresh_simulator.settings(retry_after=style)
    fresh_simulator.fault("rate_limit", seconds=4, times=1)
    fleet: Fleet = make_fleet()
    fleet.start_worker()
    fleet.start_api()
    job_id = fleet.submit()
    lane = "{darkroom}:lane:default"
    wait_until(lambda: fleet.redis.hget(lane, "not_before_ms"), 30)
    not_before_ms, slowed_ms = (int(str(fleet.redis.hget(lane, name))) for name in ("not_before_ms", "slowed_ms"))
    assert 2_000 <= not_before_ms - slowed_ms <= 5_000
    job = fleet.wait_for(job_id)
    assert (job["status"], job["submits"], job["attempt"], job["cost"]["spent"]) == ("completed", 2, 1, 0.04)
    [prediction] = fresh_simulator.predictions("")
    assert prediction["received_at"] * 1000 >= not_before_ms
