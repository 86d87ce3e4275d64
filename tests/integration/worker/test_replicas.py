"""A fleet whose store waits for a replica: what the replica does not have is neither accepted nor sent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.store import keys
from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator
from tests.support.fleet import Fleet
from tests.support.valkeys import freeze, replica_of, thaw, valkey
from tests.support.waiting import wait_until


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with valkey(tmp_path / "primary") as server:
        yield server


@pytest.fixture
def replica(primary: EmbeddedValkey, tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with replica_of(primary, tmp_path / "replica") as server:
        yield server


@pytest.fixture
def fleet(
    primary: EmbeddedValkey,
    replica: EmbeddedValkey,
    s3_server: EmbeddedS3,
    bucket: str,
    fresh_simulator: RunningSimulator,
) -> Iterator[Fleet]:
    made = Fleet(
        redis_url=primary.url,
        s3=s3_server,
        bucket=bucket,
        upstream_url=fresh_simulator.url,
        DARKROOM_REDIS_REPLICAS_ACK=1,
    )
    made.start_worker()
    made.start_api()
    yield made
    thaw(replica)
    made.close()


def test_nothing_is_accepted_or_sent_that_the_replica_does_not_have(
    fleet: Fleet, replica: EmbeddedValkey, fresh_simulator: RunningSimulator
) -> None:
    assert fleet.wait_for(fleet.submit("a first fox"))["status"] == "completed"
    job = {"prompt": "a fox of two stores"}
    freeze(replica)
    refused = fleet.client.post("/v1/jobs", json=job, headers={"Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    assert "replicas" in refused.json()["detail"]
    [job_id] = [
        record["id"]
        for record in fleet.client.get("/v1/jobs").json()["data"]
        if record["request"]["prompt"] == job["prompt"]
    ]
    wait_until(lambda: fleet.redis.hget(keys.attempt(job_id, 1), "state") == "submitting", what="the intent is written")
    assert fresh_simulator.predictions(job["prompt"]) == []
    thaw(replica)
    accepted = fleet.client.post("/v1/jobs", json=job, headers={"Idempotency-Key": "k"})
    assert (accepted.status_code, accepted.json()["id"]) == (202, job_id)
    assert fleet.wait_for(job_id, timeout_s=60)["status"] == "completed"
    assert fresh_simulator.ledger(job["prompt"])["totals"]["predictions"] == 1
