"""Both clients, against a real API on a real store and bucket, and against a whole service of real processes."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from api.app import create_app
from darkroom.client import Client
from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator, running_simulator
from tests.support.api import RunningApi, running_api
from tests.support.by_hand import ByHand
from tests.support.clients import Awaited, LosesAnswers, LosesAnswersAsync
from tests.support.fleet import API_KEY, Fleet
from tests.support.s3 import s3_client
from tests.support.settings import ACME, service_settings
from tests.support.waiting import wait_until

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def api_server(valkey_server: EmbeddedValkey, s3_server: EmbeddedS3) -> Iterator[RunningApi]:
    settings = service_settings(
        valkey_server.url, s3=s3_server, bucket=_new_bucket(s3_server), max_queued_per_tenant=20
    )
    with running_api(create_app(settings)) as running:
        yield running


@pytest.fixture
def api(api_server: RunningApi, redis_url: str) -> Iterator[RunningApi]:
    yield api_server
    wait_until(lambda: api_server.is_idle, what="the last wake-up call, which the next test must not find")


@pytest.fixture
def by_hand(redis_url: str) -> ByHand:
    return ByHand(redis_url)


@pytest.fixture(params=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Give a function that makes clients of one kind; `losing` answers get lost on their way."""
    made: list[Any] = []

    def one(url: str, key: str = ACME, *, losing: int = 0, **options: Any) -> Any:
        blocking = request.param == "blocking"
        if losing:
            options["transport"] = LosesAnswers(losing) if blocking else LosesAnswersAsync(losing)
        client = (Client if blocking else Awaited)(url, key, **options)
        made.append(client)
        return client

    yield one
    for client in made:
        client.close()


@pytest.fixture
def client(make: Make, api: RunningApi) -> Any:
    """A client of the API without workers."""
    return make(api.url)


@pytest.fixture(scope="session")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(inference_min_s=0.2, inference_max_s=0.4, image_bytes=20_000) as running:
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
def whole(make: Make, fleet: Fleet) -> Any:
    """A client of the whole service."""
    return make(str(fleet.client.base_url), API_KEY)


def _new_bucket(server: EmbeddedS3) -> str:
    name = f"client-{uuid.uuid4().hex[:12]}"
    client = s3_client(server)
    client.create_bucket(Bucket=name)
    client.close()
    return name
