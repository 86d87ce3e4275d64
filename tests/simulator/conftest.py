"""A fresh, fast simulator for each test, and a client with a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from simulator.testing import RunningSimulator, running_simulator
from tests.simulator.helpers import Client


@pytest.fixture
def sim() -> Iterator[RunningSimulator]:
    """Run a simulator that generates in hundredths of a second."""
    with running_simulator(inference_min_s=0.01, inference_max_s=0.03) as running:
        yield running


@pytest.fixture
def client(sim: RunningSimulator) -> Iterator[Client]:
    """Call it with a key."""
    made = Client(sim)
    with made.http:
        yield made


@pytest.fixture
def as_key(sim: RunningSimulator) -> Iterator[Callable[[str], Client]]:
    """Make clients with other keys."""
    made: list[Client] = []

    def make(key: str) -> Client:
        made.append(Client(sim, key))
        return made[-1]

    yield make
    for one in made:
        one.http.close()
