"""Lost answers against the simulator: adopted where they can be one job's only, else left to an operator."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from simulator.testing import RunningSimulator
from tests.support.fleet import ADMIN_KEY, Fleet
from tests.support.waiting import wait_until

MakeFleet = Callable[..., Fleet]
QUICK = {"DARKROOM_SUBMIT_TIMEOUT_SECONDS": 1, "DARKROOM_RECONCILE_WINDOW_SECONDS": 2}


def started(make_fleet: MakeFleet, **settings: Any) -> Fleet:
    fleet = make_fleet(**(QUICK | settings))
    fleet.start_worker()
    fleet.start_api()
    return fleet


def resolve(fleet: Fleet, job_id: str, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    return fleet.client.post(f"/v1/jobs/{job_id}/resolve", json=body, headers=headers)


def test_a_lost_prediction_that_does_not_say_what_was_asked_is_adopted_where_it_can_be_nobody_elses(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet)
    fresh_simulator.settings(list_input="none")
    job = fleet.wait_for(fleet.submit("a nameless fox [[sim:lost_answer]]"), timeout_s=60)
    assert (job["status"], job["submits"]) == ("completed", 1)
    assert fresh_simulator.ledger()["totals"]["predictions"] == 1


def test_two_lost_predictions_that_do_not_say_what_was_asked_are_left_to_an_operator(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet)
    fresh_simulator.settings(list_input="none")
    jobs = [fleet.submit(f"a nameless {animal} [[sim:lost_answer]]") for animal in ("fox", "owl")]
    ended = fleet.wait_for_all(jobs)
    assert {(job["status"], job["error"]["code"], job["submits"]) for job in ended} == {
        ("failed", "submit_unconfirmed", 1)
    }
    evidence = ended[0]["error"]["upstream"]
    assert len(evidence["candidates"]) == 2
    assert evidence["complete_listings"] >= 3
    owl = fresh_simulator.predictions("a nameless owl")[0]["id"]
    assert resolve(fleet, jobs[1], action="adopt", prediction_id="nothing").status_code == 422
    fresh_simulator.settings(list_input="input")
    fox = fresh_simulator.predictions("a nameless fox")[0]["id"]
    refused = resolve(fleet, jobs[1], action="adopt", prediction_id=fox)
    assert (refused.status_code, refused.json()["code"]) == (409, "prediction_mismatch")
    assert resolve(fleet, jobs[1], action="adopt", prediction_id=owl).status_code == 200
    assert fleet.wait_for(jobs[1])["prediction_id"] == owl
    taken = resolve(fleet, jobs[0], action="adopt", prediction_id=owl, force=True)
    assert taken.json()["code"] == "prediction_owned"
    assert resolve(fleet, jobs[0], action="resubmit").status_code == 200
    job = fleet.wait_for(jobs[0])
    assert (job["status"], job["attempt"], job["cost"]["spent"]) == ("completed", 2, 0.08)


def test_equal_requests_share_out_what_is_there_and_the_rest_is_sent_again(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet)
    fresh_simulator.fault("lost_answer", prompt_contains="the same fox", times=6)
    fresh_simulator.fault("lost_before", prompt_contains="the same fox", times=4)
    ended = fleet.wait_for_all([fleet.submit("the same fox") for _ in range(12)], timeout_s=80)
    assert Counter(job["status"] for job in ended) == {"completed": 12}
    assert len({job["prediction_id"] for job in ended}) == 12
    assert fresh_simulator.ledger()["totals"]["predictions"] == 12


def test_upstreams_clock_an_hour_off_and_a_list_that_lags_hide_nothing(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet, DARKROOM_RECONCILE_WINDOW_SECONDS=6)
    fresh_simulator.settings(clock_offset_s=3600, list_delay_s=3)
    jobs = [fleet.submit(f"fox {i} [[sim:lost_answer]]") for i in range(3)]
    ended = fleet.wait_for_all(jobs)
    assert {(job["status"], job["submits"]) for job in ended} == {("completed", 1)}
    assert fresh_simulator.ledger()["totals"]["predictions"] == 3


def test_a_list_that_cannot_be_read_proves_nothing(make_fleet: MakeFleet, fresh_simulator: RunningSimulator) -> None:
    fleet = started(make_fleet, DARKROOM_LANE_PROBE_SECONDS=1)
    fault = fresh_simulator.fault("error_before", call="list")
    job_id = fleet.submit("an unlisted fox [[sim:lost_answer]]")
    wait_until(lambda: fresh_simulator.stats()["requests"]["list"] >= 6, what="lists were asked for")
    assert fleet.job(job_id)["status"] == "unconfirmed"
    fresh_simulator.clear_faults(fault)
    job = fleet.wait_for(job_id)
    assert (job["status"], job["submits"]) == ("completed", 1)


def test_what_is_surely_absent_is_held_where_that_is_the_setting(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet, DARKROOM_ON_ABSENT="hold")
    job_id = fleet.submit("a held fox [[sim:lost_before]]")
    job = fleet.wait_for(job_id)
    assert (job["status"], job["error"]["code"], job["submits"]) == ("failed", "submit_unconfirmed", 1)
    assert fresh_simulator.ledger()["totals"]["predictions"] == 0


def test_submits_that_never_arrive_end_the_job_at_no_cost(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet, DARKROOM_MAX_SUBMITS=2, DARKROOM_LANE_PROBE_SECONDS=1)
    fresh_simulator.fault("lost_before", prompt_contains="a doomed fox")
    job = fleet.wait_for(fleet.submit("a doomed fox"), timeout_s=80)
    assert (job["status"], job["submits"], job["error"]["code"]) == ("failed", 2, "upstream_failed")
    assert (job["error"]["retryable"], job["cost"]["spent"]) == (True, 0)


def test_absence_under_another_key_proves_nothing(make_fleet: MakeFleet, fresh_simulator: RunningSimulator) -> None:
    fleet = make_fleet(**QUICK)
    worker = fleet.start_worker()
    fleet.start_api()
    job_id = fleet.submit("a fox of the old key [[sim:hang_after=600]]")
    wait_until(lambda: fresh_simulator.predictions("a fox of the old key"), what="the prediction exists")
    worker.kill()
    fleet.start_worker("w2", WAVESPEED_API_KEY="ws_other_account")
    job = fleet.wait_for(job_id, timeout_s=60)
    assert (job["status"], job["error"]["code"], job["submits"]) == ("failed", "submit_unconfirmed", 1)
    assert "key" in job["error"]["message"]


def test_a_retry_looks_upstream_before_it_buys_again(make_fleet: MakeFleet, fresh_simulator: RunningSimulator) -> None:
    fleet = started(make_fleet, DARKROOM_GENERATION_TIMEOUT_SECONDS=1)
    job_id = fleet.submit("a failing fox [[sim:fail=1200]]")
    assert fleet.wait_for(job_id)["error"]["code"] == "content_moderation"
    assert fleet.client.post(f"/v1/jobs/{job_id}/retry").status_code == 200
    wait_until(lambda: fleet.job(job_id)["attempt"] == 2, what="upstream called it failed again")
    assert fleet.wait_for(job_id)["submits"] == 2


def test_thousands_of_lost_sends_are_settled_by_few_listings(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet, DARKROOM_LANE_PROBE_SECONDS=1)
    fresh_simulator.fault("lost_answer", prompt_contains="a fox of many", times=150)
    jobs = [fleet.submit(f"a fox of many {i}") for i in range(150)]
    ended = fleet.wait_for_all(jobs, timeout_s=80)
    assert {(job["status"], job["submits"]) for job in ended} == {("completed", 1)}
    assert fresh_simulator.ledger()["totals"]["predictions"] == 150
    assert fresh_simulator.stats()["requests"]["list"] < 60
