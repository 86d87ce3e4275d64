"""Fleets on real servers: one shared by a module's tests, and one a test for those that break things."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator, running_simulator
from tests.support.fleet import Fleet
from tests.support.s3 import s3_client

QUICK = {"inference_min_s": 0.2, "inference_max_s": 0.4, "image_bytes": 20_000}


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    """Run a quick simulator with small images."""
    with running_simulator(**QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(valkey_server: EmbeddedValkey, s3_server: EmbeddedS3, simulator: RunningSimulator) -> Iterator[Fleet]:
    """Run one api and one worker for the whole module."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    shared = Fleet(redis_url=valkey_server.url, s3=s3_server, bucket=_new_bucket(s3_server), upstream_url=simulator.url)
    shared.start_worker()
    shared.start_api()
    yield shared
    shared.close()


@pytest.fixture
def fresh_simulator() -> Iterator[RunningSimulator]:
    """Run a quick simulator that only this test uses."""
    with running_simulator(**QUICK) as running:
        yield running


@pytest.fixture
def make_fleet(
    redis_url: str, s3_server: EmbeddedS3, bucket: str, fresh_simulator: RunningSimulator
) -> Iterator[Callable[..., Fleet]]:
    """Make fleets with settings of the test's own; all of them end with the test."""
    fleets: list[Fleet] = []

    def make(**settings: Any) -> Fleet:
        made = Fleet(redis_url=redis_url, s3=s3_server, bucket=bucket, upstream_url=fresh_simulator.url, **settings)
        fleets.append(made)
        return made

    yield make
    for made in fleets:
        made.close()


def _new_bucket(server: EmbeddedS3) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    client = s3_client(server)
    client.create_bucket(Bucket=name)
    client.close()
    return name
