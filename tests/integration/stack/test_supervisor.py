"""The supervisor on real processes: order, restarts, giving up, and that nothing is ever left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_until

STACK = Path(__file__).with_name("stand_in_stack.py")
ROOT = Path(__file__).parents[3]


class Stack:
    """A supervisor of stand-ins in a process of its own."""

    def __init__(self, directory: Path, *services: str) -> None:
        self.directory = directory
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(STACK), str(directory), *services],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        wait_until((self.directory / "ready").exists, what="the stack to be ready")

    def pid(self, name: str) -> int:
        return int((self.directory / name).read_text())

    def starts(self, name: str) -> list[int]:
        path = self.directory / f"{name}.starts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def stopped(self) -> list[str]:
        return (self.directory / "stopped").read_text().split()

    def output(self) -> str:
        return self.log.read_text()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


StackMaker = Callable[..., Stack]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[StackMaker]:
    made: list[Stack] = []

    def make(*services: str) -> Stack:
        made.append(Stack(tmp_path, *services))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()


def gone(processes: list[psutil.Process]) -> bool:
    return all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_every_process_in_reverse_order(stack: StackMaker, number: signal.Signals) -> None:
    running = stack("valkey:obedient:1", "simulator:obedient:2", "api:obedient:3")
    running.wait_ready()
    family = running.family()
    assert len(family) == 4  # the three and the leash
    running.process.send_signal(number)
    assert running.process.wait(20) == 0
    assert running.stopped() == ["api", "simulator", "valkey"]
    assert gone(family)


def test_a_later_stage_starts_only_when_the_earlier_one_is_ready(stack: StackMaker) -> None:
    running = stack("valkey:broken:1", "api:obedient:2")
    assert running.process.wait(30) == 1
    assert len(running.starts("valkey")) == 5
    assert running.starts("api") == []


def test_a_killed_process_is_started_again(stack: StackMaker) -> None:
    running = stack("worker:obedient:1")
    running.wait_ready()
    first = running.pid("worker.pid")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(running.starts("worker")) == 2 and running.pid("worker.pid") != first)
    assert "worker was ended by SIGKILL; starting it again" in running.output()
    running.process.terminate()
    assert running.process.wait(20) == 0


def test_giving_up_on_one_process_stops_the_others_and_says_so(stack: StackMaker) -> None:
    running = stack("valkey:obedient:1", "api:broken:2", "worker:obedient:2")
    assert running.process.wait(30) == 1
    assert "api       | can't go on" in running.output()
    assert "api ended with exit code 1 before it was ready; giving up" in running.output()
    assert set(running.stopped()) == {"worker", "valkey"}


def test_a_process_with_a_wrong_setting_is_not_tried_again(stack: StackMaker) -> None:
    running = stack("api:misconfigured:1")
    assert running.process.wait(20) == 1
    assert len(running.starts("api")) == 1
    assert "DARKROOM_PORT" in running.output()


def test_a_process_that_ignores_its_grace_is_killed(stack: StackMaker) -> None:
    running = stack("worker:stubborn:1")
    running.wait_ready()
    family = running.family()
    running.process.terminate()
    assert running.process.wait(20) == 0
    assert "worker did not stop within 1 s and is killed" in running.output()
    assert gone(family)


def test_a_second_signal_ends_everything_at_once(stack: StackMaker) -> None:
    running = stack("valkey:obedient:1", "worker:stubborn:2")
    running.wait_ready()
    family = running.family()
    running.process.send_signal(signal.SIGINT)
    wait_until((running.directory / "stopped").exists)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 0
    assert running.stopped() == ["worker"]  # valkey was killed, not asked
    assert "did not stop within" not in running.output()
    assert gone(family)


def test_grandchildren_end_with_the_process_that_started_them(stack: StackMaker) -> None:
    running = stack("worker:parent:1")
    running.wait_ready()
    grandchild = psutil.Process(running.pid("worker.grandchild"))
    os.kill(running.pid("worker.pid"), signal.SIGKILL)
    wait_until(lambda: gone([grandchild]))


def test_kill_9_of_the_supervisor_leaves_nothing_behind(stack: StackMaker) -> None:
    running = stack("valkey:stubborn:1", "worker:parent:2")
    running.wait_ready()
    family = running.family()
    assert len(family) == 4  # two services, a grandchild, the leash
    running.process.kill()
    wait_until(lambda: gone(family))
