"""The real commands as subprocesses against a whole service: api, worker, Valkey, bucket and simulator."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator, running_simulator
from tests.support.fleet import API_KEY, Fleet
from tests.support.launched import Launched
from tests.support.s3 import s3_client

QUICK = {"inference_min_s": 0.2, "inference_max_s": 0.4, "image_bytes": 20_000}
AT_ONCE = 6
"""Predictions that upstream has at most."""

Done = subprocess.CompletedProcess[str]


@dataclass
class Shell:
    """An empty directory in which commands are typed, with a key and an address in the environment."""

    directory: Path
    env: dict[str, str]
    started: list[Launched] = field(default_factory=list)

    def __call__(self, *arguments: str, stdin: str = "", **env: str) -> Done:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "darkroom.cli", *arguments],
            cwd=self.directory,
            env=self._environment(env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=80,
        )

    def start(self, *arguments: str, **env: str) -> Launched:
        """Start a command; it ends with the test at the latest."""
        command = [sys.executable, "-m", "darkroom.cli", *arguments]
        self.started.append(Launched(command, self.directory, self._environment(env)))
        return self.started[-1]

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("DARKROOM_", "WAVESPEED_"))}
        return ours | self.env | {"COLUMNS": "200"} | more

    def write(self, name: str, content: str) -> None:
        """Write a file."""
        (self.directory / name).write_text(content)

    def images(self, directory: str) -> dict[str, tuple[int, int]]:
        """Give the images there, each with what changes when it is written again."""
        root = self.directory / directory
        files = {path: path.stat() for path in root.glob("job_*/*") if path.suffix != ".part"}
        return {str(path.relative_to(root)): (stat.st_ino, stat.st_mtime_ns) for path, stat in files.items()}


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    """Run a quick simulator with small images."""
    with running_simulator(**QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(valkey_server: EmbeddedValkey, s3_server: EmbeddedS3, simulator: RunningSimulator) -> Iterator[Fleet]:
    """Run one api and one worker for the whole module."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    s3 = s3_client(s3_server)
    s3.create_bucket(Bucket=bucket)
    s3.close()
    shared = Fleet(
        redis_url=valkey_server.url,
        s3=s3_server,
        bucket=bucket,
        upstream_url=simulator.url,
        WAVESPEED_MAX_CONCURRENCY=AT_ONCE,
    )
    shared.start_worker()
    shared.start_api()
    yield shared
    shared.close()


@pytest.fixture
def shell(fleet: Fleet, tmp_path: Path) -> Iterator[Shell]:
    """Give a shell in an empty directory."""
    shell = Shell(tmp_path, {"DARKROOM_URL": str(fleet.client.base_url).rstrip("/"), "DARKROOM_API_KEY": API_KEY})
    yield shell
    for program in shell.started:
        program.stop()


@pytest.fixture
def prompt() -> str:
    """Give a prompt that no other test has, by which the simulator's ledger is read."""
    return f"a fox, {uuid.uuid4().hex}"


@pytest.fixture
def held_prompt(prompt: str) -> str:
    """Give a prompt whose predictions complete by hand alone: see `Release`."""
    return f"{prompt} [[sim:inference=600]]"


Release = Callable[[str], int]


@pytest.fixture
def release(simulator: RunningSimulator) -> Release:
    """Complete what upstream holds of a prompt just now, and say how many predictions that were."""

    def complete_all(prompt: str) -> int:
        held = [item["id"] for item in simulator.predictions(prompt) if item["status"] not in ("completed", "failed")]
        for prediction_id in held:
            simulator.complete(prediction_id)
        return len(held)

    return complete_all


@pytest.fixture
def slow_prompt(prompt: str) -> str:
    """Give a prompt that upstream takes longer for than any test looks at it."""
    return f"{prompt} [[sim:inference=30]]"


Ledger = Callable[[str], dict[str, Any]]


@pytest.fixture
def ledger(simulator: RunningSimulator) -> Ledger:
    """Give what upstream has of a prompt."""
    return lambda prompt: simulator.ledger(prompt)["totals"]
