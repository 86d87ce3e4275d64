"""`darkroom up` as a user meets it: one command, a line to paste, Ctrl-C, and the same jobs the next time."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

START_S = 90.0


class Up:
    """A running `darkroom up` in a directory of its own."""

    def __init__(self, directory: Path, **env: str) -> None:
        self.directory = directory
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "darkroom.cli", "up", "--port=0", "--inference=0.2:0.4"],
                cwd=directory,
                env={**os.environ, "DARKROOM_POLL_MIN_SECONDS": "0.2", **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text()

    def wait_ready(self) -> "Up":
        def settled() -> bool:
            return "Darkroom is ready." in self.output() or self.process.poll() is not None

        try:
            wait_until(settled, START_S, what="the stack to be ready")
            assert self.process.poll() is None
        except AssertionError as error:
            error.add_note(self.output())
            raise
        return self

    def said(self, pattern: str) -> str:
        found = re.search(pattern, self.output())
        assert found, self.output()
        return found[1]

    def api(self) -> httpx.Client:
        key = (self.directory / ".darkroom" / "api-key").read_text().strip()
        url = self.said(r"address +(http://\S+)")
        return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=70)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, word: str) -> psutil.Process:
        return next(one for one in self.family() if word in " ".join(one.cmdline()).replace("/", " ").split())

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(100)


UpMaker = Callable[..., Up]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[UpMaker]:
    made: list[Up] = []

    def make(**env: str) -> Up:
        made.append(Up(tmp_path, **env))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()


def gone(processes: list[psutil.Process]) -> bool:
    return all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes)


def finished(api: httpx.Client, job_id: str) -> dict[str, Any]:
    def job() -> dict[str, Any]:
        answer = api.get(f"/v1/jobs/{job_id}", params={"wait": 20})
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    return wait_until(lambda: (body := job())["status"] == "completed" and body, 60, what="the job to be completed")


def test_the_printed_line_works_and_a_second_run_finds_the_job(up: UpMaker) -> None:
    first = up().wait_ready()
    assert "SIMULATED UPSTREAM" in first.output().splitlines()[0]
    assert "THIS MACHINE" in first.output()
    line = first.said(r"\n +(curl .*)\n")
    pasted = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    job_id = json.loads(pasted.stdout)["id"]
    with first.api() as api:
        job = finished(api, job_id)
    assert len(job["outputs"]) == 4
    image = httpx.get(job["outputs"][0]["url"])
    assert image.status_code == 200
    assert len(image.content) == job["outputs"][0]["bytes"]
    family = first.family()
    assert len(family) == 6  # Valkey, S3, simulator, API, worker and the leash
    assert first.stop() == 0
    assert gone(family)

    second = up().wait_ready()
    with second.api() as api:
        assert api.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"
        assert api.get("/v1/status").json()["simulated"] is True
    assert second.stop(signal.SIGTERM) == 0


def test_jobs_survive_kill_9_of_every_process_of_the_service(up: UpMaker) -> None:
    running = up().wait_ready()
    with running.api() as api:
        answers = [api.post("/v1/jobs", json={"prompt": f"boat {number}"}) for number in range(5)]
        assert [answer.status_code for answer in answers] == [202] * 5
    family = running.family()
    running.process.kill()
    wait_until(lambda: gone(family))

    again = up().wait_ready()
    with again.api() as api:
        jobs = [finished(api, answer.json()["id"]) for answer in answers]
    assert [job["attempt"] for job in jobs] == [1] * 5
    assert again.stop() == 0


def test_a_killed_process_comes_back_and_the_service_goes_on(up: UpMaker) -> None:
    running = up().wait_ready()
    for word in ("worker", "valkey-server", "api"):
        victim = running.child(word)
        victim.kill()
        wait_until(partial(came_back, running, word, victim.pid), 60, what=f"{word} to come back")
    with running.api() as api:
        wait_until(lambda: accepts(api), 60, what="the API to accept a job")
        job_id = api.post("/v1/jobs", json={"prompt": "still here"}).json()["id"]
        assert finished(api, job_id)["status"] == "completed"
    assert running.stop() == 0


def came_back(running: Up, word: str, old_pid: int) -> bool:
    try:
        return running.child(word).pid != old_pid
    except (StopIteration, psutil.NoSuchProcess):
        return False


def accepts(api: httpx.Client) -> bool:
    try:
        return api.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_second_stack_on_the_same_data_is_refused_in_one_line(up: UpMaker) -> None:
    running = up().wait_ready()
    second = subprocess.run(
        [sys.executable, "-m", "darkroom.cli", "up", "--port=0"], cwd=running.directory, capture_output=True, text=True
    )
    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert line.startswith("darkroom: DARKROOM_DATA_DIR: ")
    assert str(running.process.pid) in line
    assert running.stop() == 0
