"""Celery is the engine: stages start in its tasks, and its own tools steer and show them."""

from collections.abc import Callable, Iterator

import pytest
from celery import Celery

from darkroom.settings import load_settings
from simulator.testing import RunningSimulator
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until
from worker.app import make_app


@pytest.fixture
def control(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """Give a Celery application on the fleet's broker, as an operator has it."""
    for name, value in fleet.environment.items():
        if name.startswith(("DARKROOM_", "WAVESPEED_")):
            monkeypatch.setenv(name, value)
    app = make_app(load_settings())
    yield app
    app.close()


def test_cancelling_the_submit_consumer_stops_submits_and_adding_it_starts_them_again(
    fleet: Fleet, simulator: RunningSimulator, control: Celery
) -> None:
    control.control.cancel_consumer("submit", reply=True, timeout=5)
    job_id = fleet.submit("a held fox")
    witness = fleet.submit("a later fox", webhook={"url": fleet.receiver.url})
    wait_until(lambda: fleet.redis.zscore("{darkroom}:due", f"j:{job_id}:1"), what="the job is admitted")
    assert fleet.job(job_id)["status"] == "queued"
    assert simulator.ledger("a held fox")["totals"]["predictions"] == 0
    control.control.add_consumer("submit", reply=True, timeout=5)
    assert fleet.wait_for(job_id)["status"] == "completed"
    assert fleet.wait_for(witness)["status"] == "completed"
    assert simulator.ledger("a held fox")["totals"]["predictions"] == 1


def test_the_api_and_the_workers_meet_on_one_queue(fleet: Fleet, control: Celery) -> None:
    control.control.cancel_consumer("dispatch", reply=True, timeout=5)
    job_id = fleet.submit("a fox that wakes")
    wait_until(lambda: fleet.redis.llen("darkroom-celery:dispatch"), what="the wake-up call waits")
    assert fleet.job(job_id)["status"] == "queued"
    control.control.add_consumer("dispatch", reply=True, timeout=5)
    assert fleet.wait_for(job_id)["status"] == "completed"


def test_inspect_shows_the_worker_its_queues_and_its_tasks(fleet: Fleet, control: Celery) -> None:
    inspect = control.control.inspect(timeout=5)
    (queues,) = inspect.active_queues().values()
    assert {queue["name"] for queue in queues} == {"dispatch", "submit", "store", "notify"}
    (tasks,) = inspect.registered().values()
    assert {"darkroom.dispatch", "darkroom.submit", "darkroom.store", "darkroom.notify"} <= set(tasks)


def test_messages_of_another_schema_or_broken_ones_do_no_harm(fleet: Fleet, control: Celery) -> None:
    control.send_task("darkroom.submit", args=[999, [["job_x", 1, 1]]], queue="submit")
    control.send_task("darkroom.store", args=[1, [["job_unknown", 1, 1], ["too", "short"]]], queue="store")
    control.send_task("darkroom.notify", args=[1, [["dlv_unknown", "1"]]], queue="notify")
    assert fleet.wait_for(fleet.submit("an unharmed fox"))["status"] == "completed"


def test_a_doubled_submit_message_sends_once(fleet: Fleet, simulator: RunningSimulator, control: Celery) -> None:
    control.control.cancel_consumer("submit", reply=True, timeout=5)
    job_id = fleet.submit("a doubled fox")
    wait_until(lambda: fleet.redis.hget(f"{{darkroom}}:attempt:{job_id}:1", "state") == "admitted")
    lease = int(fleet.redis.hget(f"{{darkroom}}:attempt:{job_id}:1", "lease") or 0)
    for _ in range(5):
        control.send_task("darkroom.submit", args=[1, [[job_id, 1, lease]] * 3], queue="submit")
    control.control.add_consumer("submit", reply=True, timeout=5)
    job = fleet.wait_for(job_id)
    assert (job["status"], job["submits"]) == ("completed", 1)
    assert simulator.ledger("a doubled fox")["totals"]["predictions"] == 1


def test_another_pool_refuses_to_start_and_says_why(make_fleet: Callable[..., Fleet]) -> None:
    import subprocess
    import sys

    environment = make_fleet().environment
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "--pool=solo"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "worker_pool: must be threads" in ended.stderr
