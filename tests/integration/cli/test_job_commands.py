"""`darkroom submit`, `watch`, `jobs`, `cancel`, `retry`, `status`, `usage` and `keys` against a whole service."""

import json
import signal

import httpx
import pytest

from tests.integration.cli.conftest import Ledger, Shell
from tests.support.fleet import ADMIN_KEY, API_KEY, Fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

CODES: list[tuple[list[str], dict[str, str], int, str]] = [
    (["submit", "a", "--max-images", "16"], {}, 1, "--max-images: must be 15 or less (HTTP 422, validation_error)"),
    (["submit", "a", "--webhook", "ftp://x"], {}, 1, "--webhook: the URL must start with https://"),
    (["jobs", "--batch", "nope"], {}, 1, "--batch: must be a batch's id"),
    (["submit", "a", "--size", "1x1"], {}, 1, "--size: each side must be 1440 to 4096 pixels"),
    (["submit", "--prompt", "-"], {}, 1, "prompt: must not be"),
    (["submit", "a", "--key", "wrong"], {}, 1, "the API key is not known"),
    (["jobs", "--key", "wrong"], {}, 1, "the API key is not known"),
    (["watch", "job_nowhere"], {}, 1, "there is no such job"),
    (["watch", "job_nowhere", "--key", "dk_other"], {}, 1, "there is no such job"),
    (["cancel", "job_nowhere"], {}, 1, "there is no such job"),
    (["retry", "job_nowhere"], {}, 1, "there is no such job"),
    (["usage", "--from", "nonsense"], {}, 1, "--from: "),
    (["usage", "--tenant", "other"], {}, 1, "DARKROOM_ADMIN_KEYS"),
]


def test_a_job_is_submitted_followed_and_fetched(shell: Shell, prompt: str, ledger: Ledger, fleet: Fleet) -> None:
    done = shell("submit", prompt, "--max-images", "2", "--metadata", "order=7", "--custom-id", "p1", "--watch")
    assert done.returncode == 0, done.stderr
    urls = done.stdout.splitlines()
    assert len(urls) == 2
    assert all(httpx.get(url).status_code == 200 for url in urls)
    *changes, last = done.stderr.splitlines()
    assert [change.split()[1] for change in changes] == ["queued", "submitting", "generating", "storing", "completed"]
    assert last.endswith(" completed: 2 images, 0.08 USD spent")

    job_id = last.split()[0]
    job = fleet.job(job_id)
    assert (job["metadata"], job["custom_id"]) == ({"order": "7"}, "p1")
    fetched = shell("watch", job_id, "--download", "shots")
    assert fetched.stdout.splitlines() == [f"shots/{job_id}/00.png", f"shots/{job_id}/01.png"]
    for output in job["outputs"]:
        assert (shell.directory / "shots" / job_id / f"0{output['index']}.png").stat().st_size == output["bytes"]
    before = shell.images("shots")
    again = json.loads(shell("watch", job_id, "--download", "shots", "--json").stdout.splitlines()[-1])
    assert again["files"] == fetched.stdout.splitlines()
    assert shell.images("shots") == before
    assert ledger(prompt)["predictions"] == 1


def test_a_prompt_may_come_from_stdin_and_json_is_one_document(shell: Shell, prompt: str) -> None:
    posted = json.loads(shell("submit", "-", "--json", stdin=f"{prompt}\n").stdout)
    assert (posted["object"], posted["request"]["prompt"]) == ("job", prompt)
    ended = json.loads(shell("submit", "--prompt", "-", "--json", "--download", "d", stdin=prompt).stdout)
    assert (ended["status"], len(ended["files"])) == ("completed", 1)


def test_the_same_idempotency_key_finds_the_same_job(shell: Shell, prompt: str, ledger: Ledger) -> None:
    ids = {
        json.loads(shell("submit", prompt, "--idempotency-key", f"k-{prompt[-8:]}", "--json").stdout)["id"]
        for _ in range(2)
    }
    assert len(ids) == 1


def test_following_prints_each_change_as_json(shell: Shell, prompt: str) -> None:
    job_id = json.loads(shell("submit", prompt, "--json").stdout)["id"]
    done = shell("watch", job_id, "--json")
    *changes, job = [json.loads(line) for line in done.stdout.splitlines()]
    assert [change["status"] for change in changes][-2:] == ["storing", "completed"]
    assert (job["id"], job["status"]) == (job_id, "completed")
    assert "queued" not in done.stderr


def test_a_job_that_fails_is_exit_code_3(shell: Shell, prompt: str) -> None:
    done = shell("submit", f"{prompt} [[sim:fail=1200]]", "--watch")
    assert (done.returncode, done.stdout) == (3, "")
    assert " failed (content_moderation): " in done.stderr.splitlines()[-1]


def test_a_time_that_is_over_is_exit_code_4_and_the_job_goes_on(shell: Shell, slow_prompt: str, fleet: Fleet) -> None:
    done = shell("submit", slow_prompt, "--watch", "--timeout", "0.5")
    assert done.returncode == 4
    *_, over, again = done.stderr.splitlines()
    assert over == "darkroom: not over in time; the job goes on"
    assert fleet.job(again.split()[-1])["status"] != "failed"


def test_ctrl_c_is_exit_code_130_and_the_job_goes_on(shell: Shell, slow_prompt: str, fleet: Fleet) -> None:
    program = shell.start("submit", slow_prompt, "--watch")
    wait_until(lambda: "generating" in program.output, what="the job to be generating")
    assert program.stop(signal.SIGINT) == 130
    assert "Traceback" not in program.output
    job_id = program.output.split()[-1]
    assert fleet.job(job_id)["status"] == "generating"
    canceled = shell("cancel", job_id)
    assert (canceled.returncode, canceled.stdout.split()[:2]) == (0, [job_id, "canceled:"])
    assert shell("watch", job_id).returncode == 3
    refused = shell("cancel", job_id)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    retried = shell("retry", job_id, "--json")
    assert json.loads(retried.stdout)["status"] in ("queued", "unconfirmed", "generating", "storing", "completed")


def test_jobs_are_listed_by_their_filters(shell: Shell, prompt: str) -> None:
    tag = prompt[-12:]
    posted = [
        json.loads(
            shell("submit", f"{prompt} {n}", "--metadata", f"tag={tag}", "--custom-id", f"{tag}-{n}", "--json").stdout
        )
        for n in range(3)
    ]
    ids = [job["id"] for job in reversed(posted)]
    listed = json.loads(shell("jobs", "--metadata", f"tag={tag}", "--since", "1h", "--json").stdout)
    assert [job["id"] for job in listed] == ids
    assert len(json.loads(shell("jobs", "--metadata", f"tag={tag}", "--limit", "2", "--json").stdout)) == 2
    table = shell("jobs", "--custom-id", f"{tag}-1").stdout.splitlines()
    assert len(table) == 2
    assert ids[1] in table[1]
    assert shell("jobs", "--metadata", f"tag={tag}", "--before", "1h").stdout == "no jobs\n"
    assert shell("jobs", "--metadata", f"tag={tag}", "--status", "expired").stdout == "no jobs\n"


def test_status_usage_and_keys(shell: Shell, prompt: str) -> None:
    shell("submit", prompt, "--watch")
    said = shell("status").stdout
    assert "in the line" in said
    assert "default" in said
    assert "w1@" in said
    assert json.loads(shell("status", "--json").stdout)["lanes"][0]["name"] == "default"
    assert " USD" in shell("usage").stdout
    assert json.loads(shell("usage", "--json").stdout)["total"]["completed"] >= 1
    assert shell("usage", "--from", "2020-01-01", "--to", "2020-01-02").stdout == "nothing in these days\n"
    known = json.loads(shell("keys", "--json", DARKROOM_ADMIN_KEYS=ADMIN_KEY, DARKROOM_API_KEYS="acme:wrong").stdout)
    assert [(key["of"], key["accepted"], key["first"]) for key in known] == [
        ("tenant", "yes", True),
        ("tenant", "no", False),
        ("operator", "yes", False),
    ]


@pytest.mark.parametrize(
    "place",
    [
        {"DARKROOM_API_KEY": "", "DARKROOM_API_KEYS": f"acme:{API_KEY},other:x"},
        {"DARKROOM_API_KEY": ""},
    ],
    ids=["the first of the service's", "what `darkroom up` keeps"],
)
def test_a_key_is_found_where_the_service_has_it(shell: Shell, place: dict[str, str]) -> None:
    (shell.directory / ".darkroom").mkdir()
    shell.write(".darkroom/api-key", f"{API_KEY}\n")
    assert shell("jobs", **place).returncode == 0


@pytest.mark.parametrize(("arguments", "env", "code", "says"), CODES)
def test_what_goes_wrong_is_said_in_one_line(
    shell: Shell, arguments: list[str], env: dict[str, str], code: int, says: str
) -> None:
    done = shell(*arguments, **env)
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("darkroom: ")
    assert says in line
    assert API_KEY not in line
