"""`darkroom batch FILE` and `darkroom batches` against a whole service."""

import json
from typing import Any

import pytest

from tests.integration.cli.conftest import AT_ONCE, Done, Ledger, Release, Shell
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)
OTHER_PLACE = ".one.txt.darkroom-batches.json"


def batches(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shell("batches", "list", "--limit", "1000", "--json").stdout)
    return found


def batch_id(done: Done) -> str:
    """Read the id off the line on stderr that says what a file has become."""
    return next(word.rstrip(":") for word in done.stderr.split() if word.startswith("batch_"))


def test_a_file_of_prompts_becomes_images(shell: Shell, prompt: str, ledger: Ledger) -> None:
    shell.write("prompts.txt", f"{prompt} 1\n\n{prompt} 2\n{prompt} 3\n")
    done = shell("batch", "prompts.txt", "--max-images", "2", "--metadata", "order=7", "--download", "shots")
    assert done.returncode == 0, done.stderr
    found = batch_id(done)
    assert done.stdout.splitlines()[0] == f"{found} completed: 3 jobs: 3 completed"
    assert "0.24 USD spent, 6 images" in done.stdout
    assert "6 images in shots (" in done.stdout
    before = shell.images("shots")
    assert len(before) == 6

    again = shell("batch", "prompts.txt", "--max-images", "2", "--metadata", "order=7", "--download", "shots", "--json")
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert (document["batch"]["id"], document["batch"]["metadata"]) == (found, {"order": "7"})
    assert document["failed_by_code"] == {}
    assert (document["downloads"]["images"], document["downloads"]["failed"]) == (6, {})
    assert shell.images("shots") == before
    assert ledger(prompt)["predictions"] == 3


def test_columns_of_a_table_are_fields_and_results_are_at_their_lines(shell: Shell, prompt: str) -> None:
    shell.write(
        "jobs.csv",
        f'prompt,max_images,custom_id,metadata.order\n"{prompt}\nin two lines",2,p1,\n"{prompt} last",,p2,9\n',
    )
    done = shell("batch", "jobs.csv", "--priority", "high")
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in shell("batches", "results", batch_id(done)).stdout.splitlines()]
    assert [(result["line"], result["custom_id"]) for result in results] == [(2, "p1"), (4, "p2")]
    first, last = (result["job"] for result in results)
    assert (first["request"]["prompt"], len(first["outputs"])) == (f"{prompt}\nin two lines", 2)
    assert (last["metadata"]["order"], last["priority"]) == ("9", "high")
    after = shell("batches", "results", batch_id(done), "--after", "2").stdout.splitlines()
    assert [json.loads(line)["line"] for line in after] == [4]


def test_the_same_content_is_the_same_batch_even_without_a_memory(shell: Shell, prompt: str, ledger: Ledger) -> None:
    lines = json.dumps({"prompt": prompt}) + "\n"
    first = json.loads(shell("batch", "-", "--no-wait", "--json", stdin=lines).stdout)
    second = json.loads(shell("batch", "-", "--no-wait", "--json", stdin=lines).stdout)
    assert first["id"] == second["id"]
    other = json.loads(shell("batch", "-", "--no-wait", "--priority", "low", "--json", stdin=lines).stdout)
    assert other["id"] != first["id"]
    assert shell("watch", first["id"]).returncode == shell("watch", other["id"]).returncode == 0
    assert ledger(prompt)["predictions"] == 2


def test_again_is_another_batch_and_then_that_one_goes_on(shell: Shell, prompt: str, ledger: Ledger) -> None:
    shell.write("one.txt", prompt)
    first, again, then = (
        json.loads(shell("batch", "one.txt", *more, "--json").stdout)["batch"]["id"] for more in ([], ["--again"], [])
    )
    assert first != again == then
    assert ledger(prompt)["predictions"] == 2


def test_a_memory_outlives_the_services_own(shell: Shell, prompt: str) -> None:
    shell.write("one.txt", prompt)
    found = batch_id(shell("batch", "one.txt", "--download", "shots"))
    memory, other = (shell.directory / place for place in ("shots/.darkroom-batches.json", OTHER_PLACE))
    assert memory.read_text() == other.read_text()
    other.unlink()
    kept = json.loads(memory.read_text())
    (entry,) = kept["batches"].values()
    assert entry["batch_id"] == found

    entry["batch_id"] = "batch_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    memory.write_text(json.dumps(kept))
    gone = shell("batch", "one.txt", "--download", "shots")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "which the service does not know" in gone.stderr
    assert "--again" in gone.stderr

    other.unlink(missing_ok=True)
    entry |= {"batch_id": None, "sent_at": "2020-01-01T00:00:00+00:00"}
    memory.write_text(json.dumps(kept))
    unknown = shell("batch", "one.txt", "--download", "shots")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no answer came" in unknown.stderr

    memory.write_text("{")
    broken = shell("batch", "one.txt", "--download", "shots")
    assert broken.returncode == 1
    assert "can't be understood" in broken.stderr


def test_bad_lines_refuse_the_batch_and_a_mended_file_is_sent(shell: Shell, prompt: str, ledger: Ledger) -> None:
    good, bad = json.dumps({"prompt": prompt}), [{"prompt": prompt, "max_images": 99}, {"prompt": "", "colour": "red"}]
    shell.write("jobs.jsonl", "\n".join([good, "", *(json.dumps(line) for line in bad)]))
    refused = shell("batch", "jobs.jsonl", "--download", "shots")
    assert (refused.returncode, refused.stdout) == (1, "")
    lines = [line for line in refused.stderr.splitlines() if not line.startswith("jobs.jsonl is")]
    assert all(line.startswith("darkroom: jobs.jsonl, line ") for line in lines)
    assert {line.split(": ")[1] for line in lines} == {"jobs.jsonl, line 3", "jobs.jsonl, line 4"}
    assert any("max_images: " in line for line in lines)
    assert any("colour: " in line for line in lines)

    skipped = shell("batch", "jobs.jsonl", "--download", "shots", "--on-invalid", "skip")
    assert skipped.returncode == 0, skipped.stderr
    assert "2 bad lines passed over" in skipped.stdout
    assert "2 bad lines passed over" in skipped.stderr, "said when it is posted as well"
    assert ledger(prompt)["predictions"] == 1


def test_what_failed_is_counted_by_code_and_may_be_retried(shell: Shell, prompt: str) -> None:
    shell.write("jobs.txt", f"{prompt} a\n{prompt} b [[sim:fail=1200]]\n{prompt} c [[sim:fail=1200]]\n")
    done = shell("batch", "jobs.txt", "--download", "shots", "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert document["failed_by_code"] == {"content_moderation": 2}
    assert document["downloads"]["images"] == 1
    found = document["batch"]["id"]
    left_out = shell("retry", found)
    assert left_out.returncode == 0, left_out.stderr
    assert "left out: 2 content_moderation" in left_out.stdout
    retried = json.loads(shell("batches", "retry", found, "--include", "content_moderation", "--json").stdout)
    assert sum(retried["retried"].values()) == 2
    said = shell("watch", found).stdout
    assert "  content_moderation: 2" in said


def test_a_batch_is_shown_listed_and_canceled(shell: Shell, held_prompt: str, ledger: Ledger, release: Release) -> None:
    shell.write("jobs.txt", "".join(f"{held_prompt} {number}\n" for number in range(8)))
    posted = json.loads(shell("batch", "jobs.txt", "--no-wait", "--json").stdout)
    assert posted["total"] == 8
    shown = shell("batches", "show", posted["id"]).stdout
    assert shown.startswith(f"{posted['id']} running: 8 jobs: ")
    assert json.loads(shell("batches", "show", posted["id"], "--json").stdout)["id"] == posted["id"]
    assert posted["id"] in shell("batches", "list").stdout
    late = shell("watch", posted["id"], "--timeout", "0.5")
    assert (late.returncode, late.stdout) == (4, "")
    assert late.stderr.splitlines()[-1] == f"darkroom: not over in time; {posted['id']} goes on"

    wait_until(lambda: ledger(held_prompt)["predictions"] == AT_ONCE, what="upstream to have all that it may")
    assert shell("cancel", posted["id"]).stdout.startswith(f"{posted['id']} ")
    assert release(held_prompt) == AT_ONCE  # paid for, so they complete; what waits ends at no cost
    ended = shell("watch", posted["id"])
    assert ended.returncode == 3
    assert f" canceled: 8 jobs: {AT_ONCE} completed, {8 - AT_ONCE} canceled" in ended.stdout
    assert ledger(held_prompt)["predictions"] == AT_ONCE
    refused = shell("batches", "cancel", posted["id"])
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize("command", ["show", "results", "cancel", "retry"])
def test_a_batch_that_is_nobodys_is_said_in_one_line(shell: Shell, command: str) -> None:
    done = shell("batches", command, "batch_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "no such batch" in line
