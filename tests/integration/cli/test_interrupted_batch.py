"""`darkroom batch` stopped and killed while it sends and fetches, and run again: one batch, every image once."""

import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Ledger, Release, Shell
from tests.support.launched import Launched
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
    found = next(word.rstrip(":") for word in program.output.split() if word.startswith("batch_"))
    for second in (["batch", "slow.txt"], ["watch", found], ["submit", "a fox"]):
        refused = shell(*second, "--download", "shots")
        assert (refused.returncode, refused.stderr) == (1, "darkroom: shots: another command fetches images into it\n")
    program.stop(signal.SIGKILL)
    assert shell("batch", "slow.txt", "--download", "shots", "--timeout", "0.5").returncode == 4
    assert shell("cancel", found).returncode == 0


def test_single_jobs_may_be_fetched_into_one_directory_at_once(
    shell: Shell, held_prompt: str, release: Release
) -> None:
    arguments = ["submit", held_prompt, "--download", "shots"]
    programs = [shell.start(*arguments) for _ in range(2)]
    for program in programs:
        wait_until(lambda program=program: "generating" in program.output, 60, what="both to be followed")
    assert release(held_prompt) == 2
    for program in programs:
        assert program.wait() == 0, program.output
    assert len(shell.images("shots")) == 2


def test_a_full_disk_is_said_in_one_line_and_the_same_command_goes_on(
    shell: Shell, prompt: str, ledger: Ledger
) -> None:
    shell.write("jobs.txt", "".join(f"{prompt} {number}\n" for number in range(6)))
    arguments = ["batch", "jobs.txt", "--download", "shots"]
    limited = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", sys.executable, "-m", "darkroom.cli"]
    full = Launched([*limited, *arguments], shell.directory, shell.env)
    shell.started.append(full)
    assert full.wait() == 1, full.output
    said = [line for line in full.err if line.startswith("darkroom: ")]
    assert len(said) == 1
    assert re.fullmatch(r"darkroom: shots/job_\w+: File too large\n", said[0])
    assert "Traceback" not in full.output
    assert halves(shell) == []
    assert shell.images("shots") == {}
    done = shell(*arguments)
    assert done.returncode == 0, done.stderr
    assert len(shell.images("shots")) == ledger(prompt)["predictions"] == 6


def test_again_is_not_to_be_repeated_after_ctrl_c(shell: Shell, held_prompt: str, release: Release) -> None:
    shell.write("held.txt", f"{held_prompt}\n")
    program = shell.start("batch", "held.txt", "--again")
    wait_until(lambda: "0 of 1 job" in program.output, 60, what="the batch to be followed")
    assert program.stop(signal.SIGINT) == 130
    assert program.output.splitlines()[-1] == "held.txt: run the same command again without --again to go on"
    wait_until(lambda: release(held_prompt), 60, what="upstream to have it")
