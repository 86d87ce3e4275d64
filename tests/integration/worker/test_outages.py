"""What hangs or refuses around a worker costs time and nothing else: the worker lives, looks on and leaves."""

from collections.abc import Callable

from simulator.testing import RunningSimulator
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

MakeFleet = Callable[..., Fleet]


def test_a_full_store_ends_no_worker_and_what_is_paid_is_finished_in_it(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet()
    worker = fleet.start_worker()
    fleet.start_api()
    fresh_simulator.settings(inference_min_s=1, inference_max_s=1)
    job_id = fleet.submit()
    wait_until(lambda: fleet.job(job_id)["status"] == "generating", what="generating")
    fleet.redis.config_set("maxmemory", "1mb")
    try:
        signs = fleet.redis.hvals("{darkroom}:workers")
        wait_until(lambda: fleet.redis.hvals("{darkroom}:workers") != signs, what="a sign of life in a full store")
        assert fleet.wait_for(job_id)["status"] == "completed"
        assert worker.popen.poll() is None
    finally:
        fleet.redis.config_set("maxmemory", "0")


def test_jobs_go_on_while_the_probe_of_a_paused_lane_hangs(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet(DARKROOM_LANE_PROBE_SECONDS=1)
    fleet.start_worker()
    fleet.start_api()
    fresh_simulator.settings(inference_min_s=4, inference_max_s=4)
    job_id = fleet.submit("a patient fox", webhook={"url": fleet.receiver.url})
    wait_until(lambda: fleet.job(job_id)["status"] == "generating", what="generating")
    fresh_simulator.fault("hang", call="balance", seconds=600)
    fresh_simulator.fault("balance_empty")
    fleet.submit("a poor fox")
    wait_until(lambda: any(fault["fired"] for fault in fresh_simulator.faults() if fault["call"] == "balance"))
    assert fleet.wait_for(job_id, timeout_s=12)["status"] == "completed"
    wait_until(lambda: fleet.receiver.of_job(job_id), 10, what="told")


def test_workers_that_have_been_silent_for_long_are_forgotten(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.redis.hset("{darkroom}:workers", "gone@long-ago", '{"alive_at_ms": 1000, "queues": []}')
    fleet.start_worker()
    wait_until(lambda: not fleet.redis.hexists("{darkroom}:workers", "gone@long-ago"))
    assert fleet.redis.hlen("{darkroom}:workers") == 1


def test_a_worker_refuses_a_redis_that_evicts(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        ended = fleet._start(["worker"], {})
        code = ended.popen.wait(30)
        ended._reader.join(5)
        assert (code, "DARKROOM_REDIS_URL: this Redis evicts keys" in ended.output) == (2, True), ended.output
    finally:
        fleet.redis.config_set("maxmemory-policy", "noeviction")
