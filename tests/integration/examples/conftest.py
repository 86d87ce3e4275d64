"""The examples as their readers run them: subprocesses against a whole service of real processes."""

import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator, running_simulator
from tests.support.fleet import API_KEY, WEBHOOK_SECRET, Fleet
from tests.support.launched import Launched
from tests.support.s3 import s3_client

EXAMPLES = Path(__file__).parents[3] / "examples"


@dataclass
class Folder:
    """An empty directory in which examples are run, with what they need in the environment."""

    directory: Path
    env: dict[str, str]
    started: list[Launched] = field(default_factory=list)

    def start(self, script: str, *arguments: str, **env: str) -> Launched:
        """Start an example (`comic_strip/strip.py`), or a changed copy by its path; it ends with the test."""
        command = [sys.executable, str(EXAMPLES / script), *arguments]
        self.started.append(Launched(command, self.directory, self.env | env))
        return self.started[-1]

    def run(self, script: str, *arguments: str, **env: str) -> Launched:
        """Run an example to its end, which must be a good one."""
        program = self.start(script, *arguments, **env)
        assert program.wait() == 0, program.output
        return program

    def refused(self, script: str, *arguments: str, **env: str) -> str:
        """Run an example that must end with one line on stderr; give it."""
        program = self.start(script, *arguments, **env)
        assert program.wait() == 1, program.output
        (line,) = program.err
        return line.rstrip("\n")

    def changed(self, script: str, before: str, after: str) -> str:
        """Write a copy of an example with one place changed and give its path."""
        source = (EXAMPLES / script).read_text()
        assert source.count(before) == 1
        copy = self.directory / f"changed_{len(list(self.directory.glob('changed_*')))}.py"
        copy.write_text(source.replace(before, after))
        return str(copy)

    def killed_before(self, script: str, line: str) -> str:
        """Write a copy of an example that kills itself just before this line and give its path."""
        indent = line[: len(line) - len(line.lstrip())]
        return self.changed(script, line, f"{indent}__import__('os').kill(os.getpid(), 9)\n{line}")

    def files(self, name: str) -> dict[str, tuple[int, int]]:
        """Give the images there, each with what changes when it is written again."""
        root = self.directory / name
        stats = {path: path.stat() for path in root.rglob("*.png")}
        return {path.relative_to(root).as_posix(): (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(inference_min_s=0.2, inference_max_s=0.4, image_bytes=20_000) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(valkey_server: EmbeddedValkey, s3_server: EmbeddedS3, simulator: RunningSimulator) -> Iterator[Fleet]:
    """Run one api and one worker for the whole module."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    bucket = f"examples-{uuid.uuid4().hex[:12]}"
    s3 = s3_client(s3_server)
    s3.create_bucket(Bucket=bucket)
    s3.close()
    shared = Fleet(redis_url=valkey_server.url, s3=s3_server, bucket=bucket, upstream_url=simulator.url)
    shared.start_worker()
    shared.start_api()
    yield shared
    shared.close()


@pytest.fixture
def folder(fleet: Fleet, tmp_path: Path) -> Iterator[Folder]:
    """Give an empty directory in which the service, the key and the secret are known."""
    env = {
        "DARKROOM_URL": str(fleet.client.base_url).rstrip("/"),
        "DARKROOM_API_KEY": API_KEY,
        "DARKROOM_WEBHOOK_SECRET": WEBHOOK_SECRET,
    }
    folder = Folder(tmp_path, env)
    yield folder
    for program in folder.started:
        program.stop()


@pytest.fixture
def forget_keys(fleet: Fleet) -> Callable[[], None]:
    """Have the service forget every Idempotency-Key, as it does after a day."""

    def forget() -> None:
        forgotten = [name for name in fleet.redis.scan_iter() if "idem" in name]
        assert forgotten
        fleet.redis.delete(*forgotten)

    return forget


@pytest.fixture
def hero() -> str:
    """Give somebody whom no other test draws, by whom the simulator's ledger is read."""
    return f"a fox called {uuid.uuid4().hex}"
