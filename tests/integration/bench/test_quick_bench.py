"""The benchmarks run from end to end, and refuse to give figures that hold nothing. How fast it is, no test asserts."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.figures import BenchError, Figure, figure
from bench.receiver import Receiver


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every measurement on next to nothing."""
    folder = tmp_path_factory.mktemp("results")
    _bench(folder, "latency", "memory", "startup")
    return folder


def _bench(folder: Path, *names: str) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--out", str(folder), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr


def _read(folder: Path, name: str) -> dict[str, Any]:
    result: dict[str, Any] = orjson.loads((folder / f"{name}.json").read_bytes())
    return result


def test_latency_follows_every_posted_job_to_its_webhook(results: Path) -> None:
    rows = _read(results, "latency")["raw"]
    assert len({row["job_id"] for row in rows}) == 5
    for row in rows:
        assert row["posted_at"] <= row["received_at"] <= row["completed_at"] <= row["webhook_at"]


def test_callbacks_are_compared_on_the_same_inputs(tmp_path: Path) -> None:
    _bench(tmp_path, "callbacks")
    result = _read(tmp_path, "callbacks")
    looks = {item["case"]: item["values"] for item in result["figures"] if item["what"] == "looks a job"}
    assert looks["callbacks on"] == [1] * 5
    assert min(looks["callbacks off"]) > 1
    rows = {mode: [row for row in result["raw"] if row["callbacks"] == mode] for mode in ("on", "off")}
    assert sorted(row["number"] for row in rows["on"]) == sorted(row["number"] for row in rows["off"]) == [*range(5)]


def test_memory_is_sampled_while_every_output_is_copied(results: Path) -> None:
    result = _read(results, "memory")
    figures = {item["what"]: item["values"][0] for item in result["figures"]}
    assert figures["copied"] == 3
    for case in {item["case"] for item in result["figures"]}:
        assert len([row for row in result["raw"] if row["case"] == case]) > 2
    assert len({row["case"] for row in result["raw"]}) == 2, "fetched, and answered as base64"
    assert figures["RSS of the worker at its peak"] >= figures["RSS of the worker before"] > 0


def test_every_result_says_where_and_on_what_it_was_measured(results: Path) -> None:
    for name in ("latency", "memory", "startup"):
        result = _read(results, name)
        assert result["machine"]["cores"] >= 1
        assert result["packages"]["celery"]
        assert "git" in result
        assert result["parameters"]


def test_the_table_shows_every_measurement(results: Path) -> None:
    table = (results / "latest.md").read_text()
    assert [line for line in table.splitlines() if line.startswith("## ")] == ["## latency", "## memory", "## startup"]


def test_limiter_says_what_upstream_saw_of_a_backlog(tmp_path: Path) -> None:
    _bench(tmp_path, "limiter_rate")
    figures = {item["what"]: item["values"][0] for item in _read(tmp_path, "limiter_rate")["figures"]}
    assert 0 < figures["most images in any 60 s"] <= 120
    assert 0 < figures["most in flight"] <= 6
    assert figures["refused with 429"] == 0
    assert len(_read(tmp_path, "limiter_rate")["raw"]) == figures["predictions"] > 0


def test_saturation_counts_what_one_worker_does_of_what_the_account_takes(tmp_path: Path) -> None:
    _bench(tmp_path, "saturation")
    result = _read(tmp_path, "saturation")
    figures = {item["what"]: item["values"][0] for item in result["figures"]}
    assert figures["most in flight"] == 10
    assert figures["refused with 429"] == 0
    for moment in ("received", "completed", "handed_over", "stored", "webhook"):
        assert sum(row[moment] for row in result["raw"]) == 120
    steady = sum(row["received"] for row in result["raw"] if 1 <= row["second"] < 3)
    (share,) = (value for what, value in figures.items() if what.startswith("submits, of"))
    assert share == pytest.approx(100 * steady / 2 / 1000, abs=0.001)


def test_fairness_times_single_jobs_on_an_empty_line_and_behind_a_giant(tmp_path: Path) -> None:
    _bench(tmp_path, "fairness")
    alone, behind = [item["values"] for item in _read(tmp_path, "fairness")["figures"]]
    assert len(alone) == len(behind) == 2
    assert min(*alone, *behind) > 0


def test_scale_times_every_script_at_every_depth(tmp_path: Path) -> None:
    _bench(tmp_path, "scale")
    result = _read(tmp_path, "scale")
    assert {item["case"] for item in result["figures"]} == {"100 waiting", "200 waiting"}
    assert {"enqueue", "cancel", "expire", "admit, a job"} <= {item["what"] for item in result["figures"]}
    assert all(item["values"][0] > 0 for item in result["figures"])


def test_percentiles_are_values_that_were_measured() -> None:
    summary = Figure("case", "what", "ms", tuple(float(n) for n in range(200, 0, -1))).summary()
    assert (summary["median"], summary["p90"], summary["p99"], summary["max"]) == (100, 180, 198, 200)
    assert Figure("case", "what", "ms", (7.0,)).summary()["p99"] == 7


def test_a_figure_of_nothing_is_refused() -> None:
    with pytest.raises(BenchError, match="nothing was measured for POST"):
        figure("case", "POST", "ms")


@pytest.mark.parametrize("statuses", [[], ["failed"], ["completed", "completed"]], ids=["none", "failed", "two"])
def test_jobs_that_were_not_told_of_exactly_once_as_completed_fail_the_run(statuses: list[str]) -> None:
    receiver = Receiver("http://127.0.0.1:1/hook")
    for status in statuses:
        receiver.take(orjson.dumps({"data": {"id": "job_1", "status": status, "request": {"prompt": "x"}}}), 1.0)
    with pytest.raises(BenchError, match="job_1"):
        receiver.check(["job_1"])


def test_quick_figures_never_land_among_the_results() -> None:
    command = [sys.executable, "-m", "bench", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--out" in done.stderr
