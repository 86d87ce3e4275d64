"""The simulator's answers have the keys and types of the samples that the real client is held against too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.testing import RunningSimulator
from tests.simulator.helpers import CallbackReceiver, Client, receiving_callbacks

SAMPLES = Path(__file__).parents[1] / "samples"


def shape(value: Any) -> Any:
    """Reduce a JSON value to its keys and types; lists to the shapes of their items."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item)) for item in value})
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def sample(name: str) -> Any:
    """Read a sample."""
    return json.loads((SAMPLES / f"{name}.json").read_text())


def result_of(client: Client, prompt: str, **fields: Any) -> Any:
    """Return the whole answer to a look at a finished prediction."""
    prediction_id = client.created(prompt, **fields)
    client.done(prediction_id)
    return client.http.get(f"/api/v3/predictions/{prediction_id}/result").json()


def test_every_sample_is_covered_here() -> None:
    source = Path(__file__).read_text()
    missing = [path.stem for path in SAMPLES.glob("*.json") if f'"{path.stem}"' not in source]
    assert missing == []


def test_submit_created(client: Client) -> None:
    assert shape(client.submit().json()) == shape(sample("submit-created"))


def test_result_processing(client: Client) -> None:
    prediction_id = client.created("a [[sim:inference=600]]")
    answer = client.http.get(f"/api/v3/predictions/{prediction_id}/result").json()
    assert shape(answer) == shape(sample("result-processing"))
    assert answer["data"]["status"] == "processing"


@pytest.mark.parametrize(
    ("name", "prompt", "execution_time"),
    [
        ("result-completed", "a", True),
        ("result-completed-null-flags", "a [[sim:null_flags]]", False),
        ("result-failed-moderation", "a [[sim:fail=1200]]", True),
        ("result-failed-internal", "a [[sim:fail=5000]]", True),
        ("result-timeout", "a [[sim:status=timeout]]", True),
    ],
)
def test_finished_results(client: Client, sim: RunningSimulator, name: str, prompt: str, execution_time: bool) -> None:
    sim.settings(execution_time=execution_time)
    expected, answer = sample(name), result_of(client, prompt, max_images=2)
    assert shape(answer) == shape(expected)
    for field in ("status", "error", "code"):
        assert answer["data"].get(field) == expected["data"].get(field)


def test_result_base64(client: Client, sim: RunningSimulator) -> None:
    sim.settings(execution_time=False, image_bytes=1000)
    assert shape(result_of(client, "a", enable_base64_output=True)) == shape(sample("result-completed-base64"))


def test_sync_timed_out(client: Client, sim: RunningSimulator) -> None:
    sim.settings(sync_wait_s=0.01)
    expected = sample("sync-timed-out")
    answer = client.submit("a [[sim:inference=600]]", enable_sync_mode=True).json()
    assert shape(answer) == shape(expected)
    assert answer["data"]["error"].startswith("Sync mode timed out")


@pytest.mark.parametrize(("name", "list_input"), [("list", "input"), ("list-without-input", "none")])
def test_list(client: Client, sim: RunningSimulator, name: str, list_input: str) -> None:
    sim.settings(list_input=list_input, list_total=name == "list")
    if name == "list":
        client.done(client.created())
    else:
        client.created("a [[sim:inference=600]]")
    answer = client.http.post("/api/v3/predictions", json={"page": 1, "page_size": 10}).json()
    assert shape(answer) == shape(sample(name))


def test_delete_and_balance(client: Client) -> None:
    prediction_id = client.created()
    assert shape(client.http.delete(f"/api/v3/predictions/{prediction_id}").json()) == shape(sample("delete"))
    assert shape(client.http.get("/api/v3/balance").json()) == shape(sample("balance"))


def test_errors(client: Client, sim: RunningSimulator) -> None:
    sim.settings(error_shape="message", keys=["another"])
    assert client.submit().json() == sample("error-message")
    sim.settings(error_shape="error", keys=[])
    refused = client.submit(webhook="https://example.com/hook", enable_base64_output=True)
    assert (refused.status_code, refused.json()) == (400, sample("error-error"))


def test_callback(client: Client, sim: RunningSimulator) -> None:
    receiver: CallbackReceiver
    with receiving_callbacks() as receiver:
        sim.settings(allow_http_callbacks=True)
        client.created(webhook=receiver.url)
        assert shape(json.loads(receiver.wait(1)[0].body)) == shape(sample("callback-completed"))
