"""A failover that lost the last writes, and a plain restart: nothing is bought a second time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from deploy.embedded.processes import free_port
from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator
from tests.support.fleet import ADMIN_KEY, Fleet
from tests.support.forwarder import Forwarder
from tests.support.valkeys import client_of, replica_of, valkey
from tests.support.waiting import wait_until

JOBS = 8
AT_ONCE = 5
SHORT = {"DARKROOM_SUBMIT_TIMEOUT_SECONDS": 2, "DARKROOM_RECONCILE_WINDOW_SECONDS": 3}


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with valkey(tmp_path / "primary") as server:
        yield server


@pytest.fixture
def replica(primary: EmbeddedValkey, tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with replica_of(primary, tmp_path / "replica") as server:
        yield server


@pytest.fixture
def forwarder(primary: EmbeddedValkey) -> Iterator[Forwarder]:
    made = Forwarder(primary.port)
    yield made
    made.close()


@pytest.fixture
def fleet(
    primary: EmbeddedValkey, forwarder: Forwarder, s3_server: EmbeddedS3, bucket: str, fresh_simulator: RunningSimulator
) -> Iterator[Fleet]:
    url = primary.url.replace(f":{primary.port}/", f":{forwarder.port}/")
    made = Fleet(redis_url=url, s3=s3_server, bucket=bucket, upstream_url=fresh_simulator.url, **SHORT)
    yield made
    made.close()


def promote_without_the_last_writes(
    fleet: Fleet,
    primary: EmbeddedValkey,
    replica: EmbeddedValkey,
    forwarder: Forwarder,
    simulator: RunningSimulator,
    *,
    answers_after_s: float = 0,
) -> tuple[list[str], list[str]]:
    """Let jobs be bought that the promoted replica knows as waiting; gives all jobs, and the worker's output so far.

    With `answers_after_s` the server is lost while upstream still holds its answers, else when the ids are recorded.
    """
    simulator.settings(inference_min_s=3, inference_max_s=4)
    fleet.start_api()
    first = fleet.start_worker("w1")
    assert fleet.wait_for(fleet.submit("a fox of before"))["status"] == "completed"
    assert first.stop() == 0
    jobs = [fleet.submit(f"fox {i}") for i in range(JOBS)]
    with client_of(primary) as old, client_of(replica) as new:
        assert old.wait(1, 5_000) == 1
        new.replicaof("127.0.0.1", str(free_port()))
        if answers_after_s:
            simulator.fault("delay_answer", seconds=answers_after_s)
        second = fleet.start_worker("w2", WAVESPEED_MAX_CONCURRENCY=AT_ONCE)
        wait_until(lambda: len(simulator.predictions()) == 1 + AT_ONCE, what="some to be bought behind its back")
        if not answers_after_s:
            wait_until(lambda: _count(second.lines, "submit.settled") == AT_ONCE, what="the worker to know of them")
        primary.kill()
        assert len(new.keys(keys.prediction("*"))) == 1
        assert new.hget(keys.DEPTH, "*|jobs") == str(JOBS)
        new.config_set("requirepass", primary.url.partition("://:")[2].partition("@")[0])
        new.replicaof("NO", "ONE")
    forwarder.switch(replica.port)
    return jobs, second.lines


def test_what_a_failover_forgot_is_not_bought_again(
    fleet: Fleet,
    primary: EmbeddedValkey,
    replica: EmbeddedValkey,
    forwarder: Forwarder,
    fresh_simulator: RunningSimulator,
) -> None:
    jobs, said = promote_without_the_last_writes(fleet, primary, replica, forwarder, fresh_simulator)
    done = fleet.wait_for_all(jobs, timeout_s=90)
    assert {(job["status"], job["submits"], job["cost"]["spent"]) for job in done} == {("completed", 1, 0.04)}
    bought = [entry["prompt"] for entry in fresh_simulator.predictions()]
    assert sorted(bought) == sorted(["a fox of before", *(f"fox {i}" for i in range(JOBS))])
    assert _count(said, "server.took_over") == AT_ONCE
    assert _count(said, "submit.taken_over") == 0
    assert any("server.known" in line for line in said)


def test_an_answer_that_comes_after_the_failover_is_its_jobs_own(
    fleet: Fleet,
    primary: EmbeddedValkey,
    replica: EmbeddedValkey,
    forwarder: Forwarder,
    fresh_simulator: RunningSimulator,
) -> None:
    fleet.environment["DARKROOM_SUBMIT_TIMEOUT_SECONDS"] = "8"
    jobs, said = promote_without_the_last_writes(fleet, primary, replica, forwarder, fresh_simulator, answers_after_s=5)
    done = fleet.wait_for_all(jobs[:AT_ONCE])
    assert {(job["status"], job["submits"], job["cost"]["spent"]) for job in done} == {("completed", 1, 0.04)}
    assert len(fresh_simulator.predictions()) == 1 + AT_ONCE
    assert sum("submit.taken_over" in line and "became=DONE" in line for line in said) == AT_ONCE
    assert _count(said, "server.took_over") == 0


def test_what_can_not_be_told_apart_is_left_to_an_operator(
    fleet: Fleet,
    primary: EmbeddedValkey,
    replica: EmbeddedValkey,
    forwarder: Forwarder,
    fresh_simulator: RunningSimulator,
) -> None:
    fresh_simulator.settings(list_input="none")
    jobs, said = promote_without_the_last_writes(fleet, primary, replica, forwarder, fresh_simulator)
    wait_until(lambda: fleet.redis.hget(keys.lane(DEFAULT_LANE), "reason") == "operator", 60, what="the lane to pause")
    wait_until(lambda: [line for line in said if "server.unknown_predictions" in line], what="a critical line")
    (line,) = [line for line in said if "server.unknown_predictions" in line]
    assert f"predictions={AT_ONCE}" in line
    assert "resume the lane" in line
    assert {fleet.job(job_id)["status"] for job_id in jobs} == {"queued"}
    assert len(fresh_simulator.predictions()) == 1 + AT_ONCE
    fleet.client.post("/v1/lanes/default/resume", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    assert fleet.wait_for(jobs[-1], timeout_s=40)["status"] == "completed"


def test_a_plain_restart_costs_one_listing_and_goes_on_by_itself(
    fleet: Fleet, primary: EmbeddedValkey, fresh_simulator: RunningSimulator
) -> None:
    fleet.start_api()
    worker = fleet.start_worker()
    assert fleet.wait_for(fleet.submit("a fox of before"))["status"] == "completed"
    before = fleet.redis.hget(keys.lane(DEFAULT_LANE), "server")
    primary.kill()
    primary.start()
    job_id = _submitted(fleet)
    assert fleet.wait_for(job_id)["status"] == "completed"
    assert fleet.redis.hget(keys.lane(DEFAULT_LANE), "server") not in (None, before)
    assert sum("server.known" in line for line in worker.lines) == 1
    assert fresh_simulator.ledger()["totals"]["predictions"] == 2


def _count(lines: list[str], event: str) -> int:
    return sum(event in line for line in lines)


def _submitted(fleet: Fleet) -> str:
    """Post a job as soon as the store is back."""
    answer = wait_until(
        lambda: (got := fleet.client.post("/v1/jobs", json={"prompt": "a fox of after"})).status_code == 202 and got
    )
    return str(answer.json()["id"])  # type: ignore[union-attr]
