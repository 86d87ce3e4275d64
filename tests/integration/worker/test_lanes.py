"""No empty balance, bad key or dead upstream turns a waiting job into a failed one: the lane pauses and resumes."""

from typing import Any

import pytest

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
