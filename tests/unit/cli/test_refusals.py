"""Every command refuses a wrong setting with one clear line and exit code 2."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [["api"], ["worker"], ["up"], ["settings"]]


def run(arguments: list[str], directory: Path, **env: str) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if not name.startswith(("DARKROOM_", "WAVESPEED_"))}
    return subprocess.run(
        [sys.executable, "-m", "darkroom.cli", *arguments],
        cwd=directory,
        env={**base, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_wrong_setting_stops_the_command_with_one_line_that_names_it(command: list[str], tmp_path: Path) -> None:
    result = run(command, tmp_path, WAVESPEED_TIER="platinum")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("darkroom: WAVESPEED_TIER: ")
    assert result.stdout == ""
    assert not (tmp_path / ".darkroom").exists()


def test_every_wrong_setting_gets_a_line_and_no_secret_is_shown(tmp_path: Path) -> None:
    result = run(["settings"], tmp_path, DARKROOM_PORT="many", DARKROOM_WEBHOOK_SECRET="hunter2")
    assert result.returncode == 2
    assert {line.split(":")[1].strip() for line in result.stderr.splitlines()} == {
        "DARKROOM_PORT",
        "DARKROOM_WEBHOOK_SECRET",
    }
    assert "hunter2" not in result.stderr


def test_a_setting_in_the_env_file_counts(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WAVESPEED_TIER=gold\n")
    assert "WAVESPEED_TIER=gold\n" in run(["settings"], tmp_path).stdout


def test_settings_are_shown_without_their_secrets(tmp_path: Path) -> None:
    result = run(
        ["settings"],
        tmp_path,
        WAVESPEED_API_KEY="sk-very-secret",
        DARKROOM_REDIS_URL="redis://user:hunter2@redis.example:6379/0",
    )
    assert result.returncode == 0
    assert "WAVESPEED_API_KEY=(set)" in result.stdout
    assert "DARKROOM_REDIS_URL=redis://***@redis.example:6379/0" in result.stdout
    assert "DARKROOM_PORT=8000  (default)" in result.stdout
    assert "secret" not in result.stdout.replace("SECRET", "")
    assert "hunter2" not in result.stdout


def test_up_on_a_taken_port_names_the_variable(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run(["up"], tmp_path, DARKROOM_PORT=port)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"darkroom: DARKROOM_PORT: 127.0.0.1:{port} can't be listened on")


def test_an_unknown_queue_is_refused_by_name(tmp_path: Path) -> None:
    result = run(["worker", "--queues", "submit,stroe"], tmp_path)
    assert result.returncode == 2
    assert result.stderr == "darkroom: --queues: stroe; there are dispatch, submit, store, notify\n"


def test_the_simulator_refuses_a_setting_that_makes_no_sense(tmp_path: Path) -> None:
    result = run(["simulator", "--port", "0", "--set", "tier=platinum"], tmp_path)
    assert result.returncode == 2
    assert "tier" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_command_loads_without_what_only_a_service_needs() -> None:
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"celery", "fastapi", "uvicorn", "boto3", "redis", "pydantic_settings", "aiohttp"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from darkroom.cli import app
app(["api"], prog_name="darkroom")
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert "is not installed; this command needs the package's extras" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_name_that_looks_like_a_setting_is_told_with_the_one_it_resembles(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DARKROOM_S3_BUKET=mine\n")
    result = run(["settings"], tmp_path, WAVESPEED_IMAGE_PER_MINUTE="3", DARKROOM_API_KEY="dk_clients")
    assert result.returncode == 0
    assert result.stderr.splitlines() == [
        "darkroom: DARKROOM_S3_BUKET: no such setting, it is not used; did you mean DARKROOM_S3_BUCKET?",
        "darkroom: WAVESPEED_IMAGE_PER_MINUTE: no such setting, it is not used; "
        "did you mean WAVESPEED_IMAGES_PER_MINUTE?",
    ]


def test_a_log_level_that_there_is_not_is_refused(tmp_path: Path) -> None:
    result = run(["worker", "--log-level", "foo"], tmp_path, WAVESPEED_API_KEY="k", DARKROOM_API_KEYS="a:dk_0123456789")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "--log-level" in result.stderr


def test_up_refuses_a_bucket_that_can_not_be_used_before_it_takes_a_job(tmp_path: Path, unused_tcp_port: int) -> None:
    """The bucket of compose's `.env` is none that this machine reaches: what is paid would have no home."""
    own = {
        "DARKROOM_S3_ENDPOINT_URL": f"http://127.0.0.1:{unused_tcp_port}",
        "DARKROOM_S3_BUCKET": "invented",
        "AWS_ACCESS_KEY_ID": "invented",
        "AWS_SECRET_ACCESS_KEY": "invented",
    }
    result = run(["up", "--port", "0"], tmp_path, **own)
    assert result.returncode == 2
    assert "Ready" not in result.stdout
    line = result.stderr.splitlines()[-1]
    assert line.startswith("darkroom: DARKROOM_S3_BUCKET: ")
