"""What a job costs where the speed of the machine does not matter: looks, calls of Valkey, messages, bytes held."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from bench.fleet import Fleet, running_fleet
from bench.line import enqueue_arguments, fill
from bench.posting import post_batch
from bench.retention import Ends, measure
from bench.saturation import calls_of
from bench.waiting import wait_for
from darkroom.store import keys
from deploy.embedded.valkey import embedded_valkey

JOBS = 200
INFERENCE_S, POLL_MIN_S = 1.0, 0.25


@dataclass(frozen=True, slots=True)
class Spent:
    """What all jobs together took."""

    looks: list[int]
    calls: int
    messages: int


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spent]:
    """Let a batch go all the way through one worker."""
    simulator = {"inference_min_s": INFERENCE_S, "inference_max_s": INFERENCE_S, "image_bytes": 20_000}
    with running_fleet(tmp_path_factory.mktemp("counts"), simulator=simulator, poll_min_s=POLL_MIN_S) as fleet:
        calls, messages = calls_of(fleet.redis), _messages(fleet)
        post_batch(fleet, JOBS)
        wait_for(lambda: len(fleet.receiver.arrived_at) == JOBS, 60, what="the webhooks")
        looks = [entry["looks"] for entry in fleet.simulator.predictions()]
        yield Spent(looks, calls_of(fleet.redis) - calls, _messages(fleet) - messages)


def _messages(fleet: Fleet) -> int:
    stats = fleet.redis.info("commandstats")
    return int(stats.get("cmdstat_lpush", {"calls": 0})["calls"])


def test_no_job_is_looked_at_more_often_than_the_shortest_interval_allows(spent: Spent) -> None:
    assert len(spent.looks) == JOBS
    assert max(spent.looks) <= INFERENCE_S / POLL_MIN_S + 1


def test_a_job_takes_at_most_twenty_calls_of_valkey_those_of_celery_and_of_looks_included(spent: Spent) -> None:
    assert 0 < spent.calls <= 20 * JOBS


def test_a_job_takes_at_most_three_celery_messages(spent: Spent) -> None:
    assert 0 < spent.messages <= 3 * JOBS


def test_a_waiting_job_holds_little_more_than_its_prompt(tmp_path: Path) -> None:
    waiting = 5_000
    with embedded_valkey(tmp_path) as valkey, redis.Redis.from_url(valkey.url) as client:
        fill(valkey.url, (enqueue_arguments("tenant", 1) for _ in range(100)))
        before = int(client.info("memory")["used_memory"])
        fill(valkey.url, (enqueue_arguments("tenant", 1) for _ in range(waiting)))
        held = (int(client.info("memory")["used_memory"]) - before) / waiting
        assert int(client.hget(keys.DEPTH, "*|jobs") or 0) == waiting + 100
    assert 200 < held <= 1_200


def test_a_completed_job_holds_at_most_six_hundred_bytes_once_compacted() -> None:
    held = measure(Ends(before=50, counted=2_000), hooked=True, compacted=True)
    assert 200 < held <= 600
