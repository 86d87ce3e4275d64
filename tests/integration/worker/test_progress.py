"""A fleet that is up but does not consume is noticed, stage by stage, and one that only has much to do is not."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from api import readiness
from api.app import create_app
from darkroom.line import progress
from darkroom.settings import load_settings
from deploy.healthcheck import main
from simulator.testing import RunningSimulator
from tests.support.api import running_api
from tests.support.fleet import API_KEY, Fleet
from tests.support.waiting import wait_until


@pytest.fixture
def own(make_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Give a fleet whose environment this process has as well, as a container's health check has it."""
    fleet = make_fleet()
    for name, value in fleet.environment.items():
        if name.startswith(("DARKROOM_", "WAVESPEED_", "AWS_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(readiness, "CACHE_S", 0.0)
    return fleet


def steer(own: Fleet, command: str, stage: str) -> None:
    """Do as an operator does; Celery's pools of this process belong to the API in it."""
    line = [sys.executable, "-m", "celery", "-A", "worker.app", "control", command, stage]
    subprocess.run(line, env=own.environment, check=True, capture_output=True, timeout=30)


@pytest.fixture
def client(own: Fleet) -> Iterator[httpx.Client]:
    with running_api(create_app(load_settings())) as api, api.client(API_KEY) as client:
        yield client


def ready(client: httpx.Client) -> tuple[int, dict[str, Any]]:
    answer = client.get("/readyz")
    return answer.status_code, answer.json()["checks"]["progress"]


@pytest.mark.parametrize("stage", progress.STUCK_AFTER_MS)
def test_a_stage_that_is_not_consumed_is_named_until_it_is(
    stage: str,
    own: Fleet,
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own.start_worker()
    monkeypatch.setattr(progress, "STUCK_AFTER_MS", dict.fromkeys(progress.STUCK_AFTER_MS, 3_000))
    assert main(["worker"]) == 0
    steer(own, "cancel_consumer", stage)
    job = {"prompt": f"a fox without {stage}", "webhook": {"url": own.receiver.url}}
    job_id = client.post("/v1/jobs", json=job).json()["id"]
    wait_until(lambda: ready(client)[0] == 503, what=f"{stage} to be missed")
    detail = ready(client)[1]["detail"]
    assert detail.startswith(f"{stage}: ")
    assert f"no worker consumes the queue {stage}" in detail
    assert main(["worker"]) == 1
    assert capsys.readouterr().err.startswith(f"{stage}: ")
    steer(own, "add_consumer", stage)
    wait_until(lambda: own.receiver.of_job(job_id), 40, what=f"the job that waited for {stage} to be told of")
    wait_until(lambda: ready(client)[0] == 200, what="the service to be ready again")
    assert main(["worker"]) == 0


def test_a_fleet_that_has_more_to_do_than_it_may_is_not_stuck(
    own: Fleet, client: httpx.Client, fresh_simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh_simulator.settings(inference_min_s=1, inference_max_s=1)
    own.start_worker(WAVESPEED_MAX_CONCURRENCY=1)
    monkeypatch.setattr(progress, "STUCK_AFTER_MS", dict.fromkeys(progress.STUCK_AFTER_MS, 5_000))
    jobs = [client.post("/v1/jobs", json={"prompt": f"fox {i}"}).json()["id"] for i in range(8)]
    looks, began = [], time.monotonic()

    def over() -> bool:
        looks.append(ready(client))
        return all(client.get(f"/v1/jobs/{job_id}").json()["status"] == "completed" for job_id in jobs)

    wait_until(over, 60)
    assert time.monotonic() - began > 6
    assert {status for status, _ in looks} == {200}
