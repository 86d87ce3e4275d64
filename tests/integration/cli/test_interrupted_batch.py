"""`darkroom batch` stopped and killed while it sends and fetches, and run again: one batch, every image once."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Ledger, Release, Shell
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

JOBS, IMAGES = 30, 2


@pytest.fixture
def arguments(shell: Shell, prompt: str) -> list[str]:
    """Give a batch that takes a while: six jobs go at once."""
    shell.write("jobs.txt", "".join(f"{prompt} {number}\n" for number in range(JOBS)))
    return ["batch", "jobs.txt", "--max-images", str(IMAGES), "--download", "shots"]


def halves(shell: Shell) -> list[Path]:
    return list((shell.directory / "shots").rglob("*.part"))


def stop_once_it_fetches(
    shell: Shell, arguments: list[str], number: signal.Signals, complete_some: Callable[[], int]
) -> dict[str, object]:
    """Run it until images come of what upstream completes meanwhile, end it by the signal and give what is there."""
    there = len(shell.images("shots"))
    program = shell.start(*arguments)
    wait_until(lambda: "batch_" in program.output, 60, what=f"the batch to be followed: {program.output}")
    wait_until(complete_some, 60, what="upstream to hold predictions")
    wait_until(lambda: len(shell.images("shots")) > there, 60, what=f"images: {program.output}")
    assert program.popen.poll() is None, program.output
    code = program.stop(number)
    assert code == (130 if number == signal.SIGINT else -number), program.output
    assert "Traceback" not in program.output
    return dict(shell.images("shots"))


def test_stopped_and_killed_twice_every_image_is_fetched_once(
    shell: Shell, held_prompt: str, ledger: Ledger, release: Release
) -> None:
    shell.write("jobs.txt", "".join(f"{held_prompt} {number}\n" for number in range(JOBS)))
    arguments = ["batch", "jobs.txt", "--max-images", str(IMAGES), "--download", "shots"]
    before: dict[str, object] = {}
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        found = stop_once_it_fetches(shell, arguments, number, lambda: release(held_prompt))
        assert found.items() >= before.items()
        assert len(found) < JOBS * IMAGES  # upstream has no more than six at once
        if number == signal.SIGINT:
            assert halves(shell) == []
        before = found

    last = shell.start(*arguments, "--json")

    def is_over() -> bool:
        release(held_prompt)
        return last.popen.poll() is not None

    wait_until(is_over, 60, what="the batch to be over and here")
    assert last.wait() == 0, last.output
    document = json.loads("".join(last.out))
    found = dict(shell.images("shots"))
    assert found.items() >= before.items()
    assert len(found) == document["downloads"]["images"] == JOBS * IMAGES
    assert halves(shell) == []
    totals = ledger(held_prompt)
    assert (totals["predictions"], totals["images"]) == (JOBS, JOBS * IMAGES)
    of_it = [batch for batch in json.loads(shell("batches", "list", "--json").stdout) if batch["total"] == JOBS]
    assert [batch["id"] for batch in of_it] == [document["batch"]["id"]]
    for result in shell("batches", "results", document["batch"]["id"]).stdout.splitlines():
        job = json.loads(result)["job"]
        sizes = [(shell.directory / "shots" / job["id"] / f"{n:02d}.png").stat().st_size for n in range(IMAGES)]
        assert sizes == [output["bytes"] for output in job["outputs"]]


def test_killed_before_the_answer_is_known_it_is_still_one_batch(
    shell: Shell, arguments: list[str], prompt: str, ledger: Ledger
) -> None:
    for _ in range(3):
        program = shell.start(*arguments)
        memory = shell.directory / "shots" / ".darkroom-batches.json"
        wait_until(memory.exists, 60, what=f"the upload to begin: {program.output}")
        program.stop(signal.SIGKILL)
    assert shell(*arguments).returncode == 0
    assert ledger(prompt)["predictions"] == JOBS


def test_ctrl_c_says_how_to_go_on(shell: Shell, slow_prompt: str) -> None:
    shell.write("slow.txt", f"{slow_prompt}\n")
    program = shell.start("batch", "slow.txt")
    wait_until(lambda: "0 of 1 job" in program.output, 60, what="the batch to be followed")
    assert program.stop(signal.SIGINT) == 130
    assert program.output.splitlines()[-1] == "slow.txt: run the same command again to go on"
    found = next(word.rstrip(":") for word in program.output.split() if word.startswith("batch_"))
    assert shell("cancel", found).returncode == 0


def test_a_second_command_in_the_same_directory_is_refused(shell: Shell, slow_prompt: str) -> None:
    shell.write("slow.txt", f"{slow_prompt}\n")
    program = shell.start("batch", "slow.txt", "--download", "shots")
    wait_until(lambda: "0 of 1 job" in program.output, 60, what="the batch to be followed")
    refused = shell("batch", "slow.txt", "--download", "shots")
    assert (refused.returncode, refused.stderr) == (1, "darkroom: shots: another command fetches images into it\n")
    program.stop(signal.SIGKILL)
    found = next(word.rstrip(":") for word in program.output.split() if word.startswith("batch_"))
    assert shell("batch", "slow.txt", "--download", "shots", "--timeout", "0.5").returncode == 4
    assert shell("cancel", found).returncode == 0
