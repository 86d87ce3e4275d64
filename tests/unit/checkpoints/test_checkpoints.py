"""Checkpoints stop exactly one process, at the instruction, and only when a test has armed them."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from darkroom import checkpoints
from darkroom.checkpoints import VARIABLE, Checkpoint, reach
from tests.support.waiting import wait_until

POINT = Checkpoint.SUBMIT_INTENT
REACHES = """
import sys, threading
from darkroom.checkpoints import Checkpoint, reach
def go():
    reach(Checkpoint.SUBMIT_INTENT, sys.argv[1])
    print("went on", flush=True)
thread = threading.Thread(target=go)
thread.start()
thread.join()
"""

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start processes that come by the point in a thread."""
    started: list[subprocess.Popen[str]] = []

    def begin(job_id: str) -> subprocess.Popen[str]:
        environment = os.environ | {VARIABLE: str(tmp_path)}
        command = [sys.executable, "-c", REACHES, job_id]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def stopped(process: subprocess.Popen[str]) -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def test_process_stops_at_the_point_says_what_it_was_at_and_goes_on_when_told(start: Start, tmp_path: Path) -> None:
    (tmp_path / f"{POINT}.armed").touch()
    process = start("job_1")
    wait_until(lambda: stopped(process), what="the process stops")
    assert json.loads((tmp_path / f"{POINT}.reached").read_text()) == {"pid": process.pid, "details": ["job_1"]}
    psutil.Process(process.pid).resume()
    assert process.communicate(timeout=20)[0] == "went on\n"


def test_armed_for_certain_jobs_lets_others_pass(start: Start, tmp_path: Path) -> None:
    (tmp_path / f"{POINT}.armed").write_text("job_2 Accepted\njob_3 Accepted")
    assert start("job_1 Accepted").communicate(timeout=20)[0] == "went on\n"
    assert start("job_3 Unknown").communicate(timeout=20)[0] == "went on\n"
    process = start("j:job_3:1 Accepted")
    wait_until(lambda: stopped(process), what="the process stops")


def test_of_many_that_come_by_at_once_one_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_folder", tmp_path)
    caught: list[int] = []
    monkeypatch.setattr(checkpoints.signal, "pthread_kill", lambda thread, _: caught.append(thread))
    (tmp_path / f"{POINT}.armed").touch()
    threads = [threading.Thread(target=reach, args=(POINT, f"job_{number}")) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caught) == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"{POINT}.reached"]


def test_without_a_folder_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoints._folder is None
    monkeypatch.setattr(checkpoints, "_stop_if_armed", pytest.fail)
    reach(POINT, "job_1")
