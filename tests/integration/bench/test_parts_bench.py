"""Parts are measured beside their ordinary ways on the same inputs; a run that lost something gives no figures.

The peers' environment is not needed: quick runs use this one for them.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.goals import Goal, at_least, at_most, write_goals

SIDES = {
    "polling": {"darkroom", "darkroom, pages of the list call", "httpx"},
    "copying": {"darkroom", "httpx + upload_fileobj"},
    "ingress": {"darkroom", "FastAPI + .delay()"},
}


def run(folder: Path, name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench", "--quick", "--out", str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=85)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = orjson.loads((folder / f"{name}.json").read_bytes())
    return result


@pytest.mark.parametrize("part", SIDES)
def test_every_side_did_its_share(part: str, tmp_path: Path) -> None:
    result = run(tmp_path, part)
    assert {row["side"] for row in result["raw"]} == SIDES[part]
    if part == "copying":
        assert {(row["case"].partition(" MB")[0], row["done"]) for row in result["raw"]} == {
            ("4 of 0.02", 4),
            ("4 of 0.6", 4),
        }
    assert all(item["values"] and min(item["values"]) > 0 for item in result["figures"])


def test_growth_watches_every_job_to_its_webhook(tmp_path: Path) -> None:
    rows = run(tmp_path, "growth")["raw"]
    assert {(row["jobs"], row["workers"]): row["told"] for row in rows} == {(20, 1): 20, (60, 1): 60}


def test_what_counts_beside_others_is_refused_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "import bench.__main__ as m, typer, pathlib; m.BIN = pathlib.Path('nowhere');"]
    command[-1] += "import sys; sys.argv = ['bench', 'polling', '--out', sys.argv[1]]; typer.run(m.main)"
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "make peers" in done.stderr


def test_a_goal_says_whether_it_is_reached_or_was_not_measured(tmp_path: Path) -> None:
    result = {"figures": [{"case": "all", "what": "weight", "summary": {"median": 7.0}}]}
    (tmp_path / "scales.json").write_bytes(orjson.dumps(result))
    goals = (
        Goal("light", "scales", lambda results: [at_most(results.one("scales", "weight"), 8, " kg")]),
        Goal("lighter", "scales", lambda results: [at_most(results.one("scales", "weight"), 6, " kg")]),
        Goal("tall", "rulers", lambda results: [at_least(results.one("rulers", "height"), 2, " m")]),
    )
    light, lighter, tall = write_goals(tmp_path, goals).read_text().splitlines()[-3:]
    assert light == "| light | ≤ 8 kg | 7 kg | yes |  | scales |"
    assert "**no**" in lighter
    assert "not measured (rulers: height)" in tall
