"""The vendor's own Python SDK runs jobs against the simulator, which neither of us wrote for the other."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import wavespeed

from simulator.testing import RunningSimulator

MODEL = "bytedance/seedream-v4.5/sequential"


@pytest.fixture
def sdk(sim: RunningSimulator) -> wavespeed.Client:
    return wavespeed.Client(api_key="sdk-key", base_url=sim.url, retry_interval=0.01)


def test_the_sdk_runs_a_job_and_gets_pictures(sdk: wavespeed.Client) -> None:
    output = sdk.run(MODEL, {"prompt": "a fox in four panels", "max_images": 4}, poll_interval=0.02)
    assert len(output["outputs"]) == 4
    assert httpx.get(output["outputs"][0]).headers["Content-Type"] == "image/png"


def test_the_sdk_runs_a_job_in_sync_mode(sdk: wavespeed.Client) -> None:
    assert len(sdk.run(MODEL, {"prompt": "a fox"}, enable_sync_mode=True)["outputs"]) == 1


def test_the_sdk_understands_a_sync_timeout(sdk: wavespeed.Client, sim: RunningSimulator) -> None:
    sim.settings(sync_wait_s=0.01)
    result = sdk.run_no_throw(MODEL, {"prompt": "a [[sim:inference=600]]"}, enable_sync_mode=True)
    assert (result["status"], result["task_id"]) == ("processing", sim.predictions()[0]["id"])


def test_the_sdk_understands_a_failed_task(sdk: wavespeed.Client) -> None:
    with pytest.raises(RuntimeError, match="sensitive information"):
        sdk.run(MODEL, {"prompt": "a [[sim:fail=1200]]"}, poll_interval=0.02)


def test_the_sdk_asks_again_when_a_look_fails(sdk: wavespeed.Client) -> None:
    prompt = "a [[sim:error_before=503,call=result,x2]]"
    assert sdk.run(MODEL, {"prompt": prompt}, poll_interval=0.02)["outputs"]


def test_the_sdk_does_not_repeat_a_submit_whose_answer_was_lost(sdk: wavespeed.Client, sim: RunningSimulator) -> None:
    with pytest.raises(RuntimeError, match="may already"):
        sdk.run(MODEL, {"prompt": "a [[sim:lost_answer]]"}, poll_interval=0.02)
    assert sim.ledger()["totals"]["predictions"] == 1


def test_the_simulator_imports_nothing_of_the_service() -> None:
    for path in Path("simulator").glob("*.py"):
        assert "import darkroom" not in path.read_text()
        assert "from darkroom" not in path.read_text()
