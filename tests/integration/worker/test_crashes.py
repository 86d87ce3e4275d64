"""Accepted jobs survive the end of any process, are paid once, and are told of."""

import signal
from collections.abc import Callable

from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

MakeFleet = Callable[..., Fleet]


def test_jobs_of_a_killed_worker_are_finished_by_the_next_one(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet()
    fresh_simulator.settings(inference_min_s=2, inference_max_s=3)
    worker = fleet.start_worker()
    fleet.start_api()
    jobs = [fleet.submit(f"fox {i}", max_images=2, webhook={"url": fleet.receiver.url}) for i in range(10)]
    wait_until(lambda: all(fleet.job(job_id)["status"] == "generating" for job_id in jobs), what="all generating")
    worker.kill()
    fleet.start_worker("w2")
    assert {job["status"] for job in fleet.wait_for_all(jobs)} == {"completed"}
    assert fresh_simulator.ledger()["totals"]["predictions"] == 10
    wait_until(lambda: all(fleet.receiver.of_job(job_id) for job_id in jobs), what="all told")


def test_a_worker_killed_in_mid_submit_leaves_a_job_that_is_found_and_not_paid_again(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet(DARKROOM_SUBMIT_TIMEOUT_SECONDS=1, DARKROOM_RECONCILE_WINDOW_SECONDS=3)
    worker = fleet.start_worker()
    fleet.start_api()
    job_id = fleet.submit("a lost fox [[sim:hang_after=600]]")
    wait_until(lambda: fresh_simulator.predictions("a lost fox"), what="the prediction exists")
    worker.kill()
    assert fleet.job(job_id)["status"] == "submitting"
    fleet.start_worker("w2")
    job = fleet.wait_for(job_id, timeout_s=60)
    assert (job["status"], job["attempt"], job["submits"]) == ("completed", 1, 1)
    assert fresh_simulator.ledger()["totals"]["predictions"] == 1


def test_a_lost_answer_is_adopted_and_one_that_never_was_is_sent_again(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet(DARKROOM_RECONCILE_WINDOW_SECONDS=3)
    fleet.start_worker()
    fleet.start_api()
    created = fleet.submit("a created fox [[sim:lost_answer]]")
    never = fleet.submit("a never created fox [[sim:error_before=503]]")
    job = fleet.wait_for(created)
    assert (job["status"], job["submits"], job["cost"]["spent"]) == ("completed", 1, 0.04)
    job = fleet.wait_for(never, timeout_s=60)
    assert (job["status"], job["submits"], job["attempt"], job["cost"]["spent"]) == ("completed", 2, 1, 0.04)
    assert fresh_simulator.ledger("a created fox")["totals"]["predictions"] == 1
    assert fresh_simulator.ledger("a never created fox")["totals"]["predictions"] == 1


def test_accepted_jobs_survive_a_killed_valkey_and_api(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator, valkey_server: EmbeddedValkey
) -> None:
    fleet = make_fleet()
    api = fleet.start_api()
    jobs = [fleet.submit(f"fox {i}") for i in range(20)]
    valkey_server.process.kill()
    valkey_server.process.wait()
    api.kill()
    valkey_server.start()
    fleet.start_worker()
    fleet.start_api()
    assert {job["status"] for job in fleet.wait_for_all(jobs)} == {"completed"}
    assert fresh_simulator.ledger()["totals"]["predictions"] == 20


def test_valkey_killed_while_jobs_are_under_way_costs_only_time(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator, valkey_server: EmbeddedValkey
) -> None:
    fleet = make_fleet()
    fresh_simulator.settings(inference_min_s=1, inference_max_s=4)
    fleet.start_worker()
    fleet.start_api()
    jobs = [fleet.submit(f"fox {i}", webhook={"url": fleet.receiver.url}) for i in range(20)]
    wait_until(lambda: len(fresh_simulator.predictions()) >= 5, what="some are under way")
    valkey_server.process.kill()
    valkey_server.process.wait()
    valkey_server.start()
    assert {job["status"] for job in fleet.wait_for_all(jobs, timeout_s=80)} == {"completed"}
    assert fresh_simulator.ledger()["totals"]["predictions"] == 20
    wait_until(lambda: all(fleet.receiver.of_job(job_id) for job_id in jobs), what="all told")
    ids = {item.headers["webhook-id"] for item in fleet.receiver.received}
    assert len(ids) == 20


def test_a_worker_told_to_leave_finishes_its_post_and_hands_the_rest_back(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet()
    worker = fleet.start_worker()
    fleet.start_api()
    job_id = fleet.submit("a slow fox [[sim:delay_answer=4]]")
    wait_until(lambda: fleet.job(job_id)["status"] == "submitting")
    assert worker.stop() == 0
    assert fleet.job(job_id)["status"] == "generating"
    assert fleet.redis.hlen("{darkroom}:workers") == 0
    later = fleet.submit("a later fox")
    fleet.start_worker("w2")
    assert fleet.wait_for(job_id)["submits"] == 1
    assert fleet.wait_for(later)["status"] == "completed"
    assert fresh_simulator.ledger()["totals"]["predictions"] == 2


def test_a_second_signal_ends_a_worker_at_once(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    worker = fleet.start_worker()
    fleet.start_api()
    job_id = fleet.submit("a hanging fox [[sim:hang=600]]")
    wait_until(lambda: fleet.job(job_id)["status"] == "submitting")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.output)
    worker.signal(signal.SIGTERM)
    assert wait_until(lambda: worker.popen.poll() is not None, 10)
    assert worker.popen.returncode == 128 + signal.SIGTERM
