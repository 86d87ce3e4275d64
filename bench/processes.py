"""Processes of the service, started the way a user does, in an environment that holds none of the user's settings."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import psutil

from bench.figures import BenchError
from bench.machine import ROOT
from deploy.embedded.processes import die_with_parent, kill, stop, tail

GRACE_S = 30.0
_OURS = ("DARKROOM_", "WAVESPEED_", "AWS_", "RCLONE_")


class ServiceProcess:
    """A running `darkroom …`, its output kept in a file beside its working directory (so no `.env` is read)."""

    def __init__(self, name: str, arguments: tuple[str, ...], *, scratch: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log_path = scratch / f"{name}.log"
        self._arguments, self._folder, self._env = arguments, scratch / name, env
        self._folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it, again after a kill."""
        self.started_at = time.time()
        with self.log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "darkroom.cli", *self._arguments],
                cwd=self._folder,
                env={**clean_environment(), **self._env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self._psutil = psutil.Process(self.popen.pid)

    def must_run(self) -> None:
        """Raise `BenchError` with the last output if it has ended."""
        if self.popen.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.popen.returncode}:\n{tail(self.log_path, lines=15)}")

    def output(self) -> str:
        """Everything it has said so far."""
        return self.log_path.read_text(errors="replace")

    def complaints(self) -> Counter[str]:
        """Count the warnings and errors it has logged (as JSON), by event and reason; times and ids are left out."""
        found: Counter[str] = Counter()
        for line in self.output().splitlines():
            said = _parsed(line)
            if said.get("level") in ("warning", "error", "critical"):
                reason = (
                    said.get("why") or said.get("error") or str(said.get("exception", "")).strip().rpartition("\n")[2]
                )
                found[": ".join(filter(None, [self.name, said["event"], reason]))] += 1
        return found

    def cpu_s(self) -> float:
        """CPU seconds it has used so far, user and system."""
        return used_cpu_s(self._psutil)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(self._psutil.memory_info().rss)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        kill(self.popen)

    def stop(self) -> None:
        """End it in order, hard after a grace."""
        stop(self.popen, grace_s=GRACE_S)


def used_cpu_s(process: psutil.Process) -> float:
    """CPU seconds a process has used so far, user and system."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _parsed(line: str) -> dict[str, Any]:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def clean_environment() -> dict[str, str]:
    """Give this process's environment without any setting of the service, and with this checkout importable."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return ours | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "AWS_EC2_METADATA_DISABLED": "true"}


def start_in(stack: ExitStack, name: str, *arguments: str, scratch: Path, env: Mapping[str, str]) -> ServiceProcess:
    """Start a process that ends with the stack."""
    process = ServiceProcess(name, arguments, scratch=scratch, env=env)
    stack.callback(process.stop)
    return process
