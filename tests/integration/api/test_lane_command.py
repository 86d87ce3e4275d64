"""`darkroom lane` against a real API, as an operator types it."""

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.api import RunningApi
from tests.support.by_hand import ByHand
from tests.support.settings import ACME, OPERATOR

Result = subprocess.CompletedProcess[str]
Lane = Callable[..., Result]


@pytest.fixture
def lane(run_command: Lane, by_hand: ByHand) -> Lane:
    by_hand.open_lane()
    return partial(run_command, "lane")


def test_a_lane_is_paused_listed_and_resumed(lane: Lane) -> None:
    paused = lane("pause")
    assert (paused.returncode, paused.stdout) == (
        0,
        "default: paused (operator), 5000 images a minute, 5000 at once\n",
    )
    assert "paused (operator)" in lane("list").stdout
    assert lane("resume", "default").stdout.startswith("default: open, ")


def test_limits_are_changed_shown_and_taken_back(lane: Lane) -> None:
    changed = lane("limits", "default", "--images-per-minute", "300", "--max-concurrency", "7")
    assert (changed.returncode, changed.stdout) == (
        0,
        "default: open, 300 (configured: 5000) images a minute, 7 (configured: 5000) at once\n",
    )
    assert lane("limits").stdout == changed.stdout
    back = lane("limits", "--images-per-minute", "configured", "--json")
    assert json.loads(back.stdout)["limits"] == {"images_per_minute": 5_000, "max_concurrency": 7}


def test_json_is_the_apis_own(lane: Lane) -> None:
    [shown] = json.loads(lane("list", "--json").stdout)
    assert (shown["name"], shown["state"], shown["in_flight"]) == ("default", "open", 0)


def test_the_key_that_the_embedded_stack_keeps_is_found(lane: Lane, tmp_path: Path) -> None:
    data = tmp_path / ".darkroom"
    data.mkdir()
    (data / "admin-key").write_text(f"{OPERATOR}\n")
    assert lane("pause", DARKROOM_ADMIN_KEYS="").returncode == 0


def test_a_setting_of_the_env_file_counts(lane: Lane, tmp_path: Path, api: RunningApi) -> None:
    (tmp_path / ".env").write_text(
        f"# ours\nexport DARKROOM_ADMIN_KEYS='{OPERATOR}'\nDARKROOM_PUBLIC_URL={api.url} # x\n"
    )
    assert lane("pause", DARKROOM_ADMIN_KEYS="", DARKROOM_PUBLIC_URL="").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "env", "code", "says"),
    [
        (["pause", "other"], {}, 1, "lane"),
        (["limits", "other"], {}, 1, "there is no lane other; there are default"),
        (["pause", "--key", ACME], {}, 1, "DARKROOM_ADMIN_KEYS"),
        (["pause", "--key", "wrong"], {}, 1, "API key"),
        (["list", "--url", "http://127.0.0.1:9"], {}, 1, "no answer from the API at http://127.0.0.1:9"),
        (["list", "--url", "nonsense"], {}, 2, "--url"),
        (["list"], {"DARKROOM_ADMIN_KEYS": ""}, 2, "--key"),
        (["limits", "--images-per-minute", "0"], {}, 2, "--images-per-minute: give a whole number"),
        (["limits", "--max-concurrency", "many"], {}, 2, "--max-concurrency: give a whole number"),
        (["limits", "--max-concurrency", "9999999"], {}, 1, "--max-concurrency: must be 1000000 or less"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(
    lane: Lane, arguments: list[str], env: dict[str, str], code: int, says: str
) -> None:
    result = lane(*arguments, **env)
    assert (result.returncode, result.stdout) == (code, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("darkroom: ")
    assert says in line
    assert OPERATOR not in line


@pytest.mark.parametrize("command", ["list", "pause", "resume", "limits"])
def test_help_shows_an_example(lane: Lane, command: str) -> None:
    result = lane(command, "--help", COLUMNS="200")
    assert result.returncode == 0
    assert f"Example: darkroom lane {command}" in result.stdout
