"""A store near and at its memory limit: nothing new is taken in, what is under way ends, and it goes on by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.store import keys
from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator
from tests.support.fleet import Fleet
from tests.support.valkeys import valkey
from tests.support.waiting import wait_until

LIMIT = 64_000_000
NEARLY, WHOLLY = 58_000_000, 70_000_000
"""How much the store's other user has, in bytes: above 80 % of the limit, and above all of it."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with valkey(tmp_path / "small") as small:
        yield small


@pytest.fixture
def fleet(
    server: EmbeddedValkey, s3_server: EmbeddedS3, bucket: str, fresh_simulator: RunningSimulator
) -> Iterator[Fleet]:
    made = Fleet(redis_url=server.url, s3=s3_server, bucket=bucket, upstream_url=fresh_simulator.url)
    yield made
    made.close()


@pytest.mark.parametrize("filled", [NEARLY, WHOLLY], ids=["nearly full", "over its limit"])
def test_a_full_store_takes_nothing_in_and_loses_nothing(
    fleet: Fleet, fresh_simulator: RunningSimulator, filled: int
) -> None:
    fresh_simulator.settings(inference_min_s=600, inference_max_s=600)
    worker = fleet.start_worker(WAVESPEED_MAX_CONCURRENCY=3)
    fleet.start_api()
    hook = {"url": fleet.receiver.url}
    jobs = [fleet.submit(f"fox {i}", webhook=hook) for i in range(6)]
    wait_until(lambda: len(fresh_simulator.predictions()) == 3, what="as many as may are under way")
    fleet.redis.set("of-another-user", b"x" * filled)
    fleet.redis.config_set("maxmemory", LIMIT)
    refused = wait_until(lambda: _refusal(fleet), what="a job to be refused")
    assert (refused["status"], refused["code"]) == (503, "store_full")
    paid = [entry["id"] for entry in fresh_simulator.predictions()]
    wait_until(lambda: all(fleet.redis.exists(keys.prediction(item)) for item in paid), what="every paid id is known")
    wait_until(lambda: "store.full" in worker.output, what="the worker to see it too")
    fresh_simulator.settings(inference_min_s=0.2, inference_max_s=0.4)
    for prediction_id in paid:
        fresh_simulator.complete(prediction_id)
    done = wait_until(lambda: _completed(fleet, jobs, 3), 40, what="what was under way to end")
    wait_until(lambda: all(fleet.receiver.of_job(job_id) for job_id in done), what="that to be told")
    assert len(fresh_simulator.predictions()) == 3
    checks = fleet.client.get("/readyz").json()["checks"]
    assert "maxmemory" in checks["redis"]["detail"]
    assert worker.popen.poll() is None
    fleet.redis.delete("of-another-user")
    assert {job["status"] for job in fleet.wait_for_all(jobs)} == {"completed"}
    assert fleet.wait_for(fleet.submit("a later fox"))["status"] == "completed"
    assert fresh_simulator.ledger()["totals"]["predictions"] == 7


def _refusal(fleet: Fleet) -> dict[str, object] | None:
    answer = fleet.client.post("/v1/jobs", json={"prompt": "one too many"}, headers={"Idempotency-Key": "x"})
    if answer.status_code == 202:
        job_id = answer.json()["id"]
        fleet.client.post(f"/v1/jobs/{job_id}/cancel")
        return None
    assert int(answer.headers["retry-after"]) >= 1
    return {"status": answer.status_code, "code": answer.json()["code"]}


def _completed(fleet: Fleet, jobs: list[str], count: int) -> list[str]:
    done = [job_id for job_id in jobs if fleet.job(job_id)["status"] == "completed"]
    return done if len(done) >= count else []
