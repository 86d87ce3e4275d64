"""The client commands as they are typed: help, what they refuse without a service, and what they need installed."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMANDS = [
    *(["submit"], ["batch"], ["jobs"], ["watch"], ["cancel"], ["retry"], ["status"], ["usage"], ["keys"]),
    *(["batches", name] for name in ("list", "show", "results", "cancel", "retry")),
]
SERVICE_COMMANDS = [["up"], ["api"], ["worker"], ["settings"], ["health"], ["version"]]
BASE_IMPORTS = {"httpx", "pydantic", "rich", "typer", "standardwebhooks"}
BLOCKER = """
import importlib.abc, sys
blocked = set(sys.argv[1].split(","))
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = ["darkroom", *sys.argv[2:]]
from darkroom.cli import app
app(prog_name="darkroom")
"""
NAMES = {"pydantic-settings": "pydantic_settings", "python-dotenv": "dotenv", "python-ulid": "ulid"}


def run(*arguments: str, directory: Path, program: tuple[str, ...] = ("-m", "darkroom.cli"), **env: str) -> "Done":
    base = {name: value for name, value in os.environ.items() if not name.startswith(("DARKROOM_", "WAVESPEED_"))}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=directory,
        env=base | env,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


Done = subprocess.CompletedProcess[str]


@pytest.mark.parametrize("command", [*COMMANDS, *SERVICE_COMMANDS], ids=" ".join)
def test_help_shows_an_example(command: list[str], tmp_path: Path) -> None:
    done = run(*command, "--help", directory=tmp_path, COLUMNS="200")
    assert done.returncode == 0
    assert f"darkroom {' '.join(command)}" in done.stdout.partition("Example")[2]


def test_what_is_said_of_this_machine_is_json_too(tmp_path: Path) -> None:
    version = json.loads(run("version", "--json", directory=tmp_path).stdout)["version"]
    assert run("version", directory=tmp_path).stdout == f"darkroom {version}\n"
    settings = {"WAVESPEED_TIER": "gold", "DARKROOM_AUTH": "off", "WAVESPEED_API_KEY": "ws_secret"}
    done = run("settings", "--json", directory=tmp_path, **settings)
    found = json.loads(done.stdout)
    assert found["WAVESPEED_TIER"] == {"value": "gold", "default": False}
    assert found["DARKROOM_PORT"] == {"value": "8000", "default": True}
    assert "ws_secret" not in done.stdout
    health = run("health", "--json", directory=tmp_path, DARKROOM_PORT="9", **settings)
    assert health.returncode == 1
    said = json.loads(health.stdout)
    assert (said["process"], said["healthy"]) == ("api", False)
    assert said["problem"]


def test_completion_is_offered(tmp_path: Path) -> None:
    done = run("--help", directory=tmp_path, COLUMNS="200")
    assert "--install-completion" in done.stdout
    assert "--show-completion" in done.stdout


@pytest.mark.parametrize(
    ("shell", "marks"), [("bash", ("complete ", "COMP_WORDS")), ("zsh", ("#compdef darkroom", "compdef "))]
)
def test_completion_is_shown_where_there_is_no_shell_to_detect(
    shell: str, marks: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(directory=tmp_path, program=("-m", "darkroom.cli"), _DARKROOM_COMPLETE=f"source_{shell}")
    assert done.returncode == 0, done.stderr
    assert all(mark in done.stdout for mark in marks)


def test_commands_and_options_are_completed(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "darkroom bat", "COMP_CWORD": "1", "_DARKROOM_COMPLETE": "complete_bash"}
    assert run(directory=tmp_path, **words).stdout.split() == ["batch", "batches"]
    zsh = {"_TYPER_COMPLETE_ARGS": "darkroom batch --down", "_DARKROOM_COMPLETE": "complete_zsh"}
    assert "--download" in run(directory=tmp_path, **zsh).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["submit"], "give one prompt: as an argument, with --prompt, or - for stdin"),
        (["submit", "a", "--prompt", "b"], "give one prompt"),
        (["submit", "a", "--expires-in", "soon"], "--expires-in: give seconds"),
        (["submit", "a", "--metadata", "x"], "--metadata: 'x' is no KEY=VALUE pair"),
        (["submit", "a", "--webhook-event", "job.failed"], "--webhook-event: give --webhook as well"),
        (["submit", "a"], "--key: give your API key, or set DARKROOM_API_KEY (none is in .darkroom/api-key)"),
        (["submit", "a", "--key", "ä"], "--key: the key has signs that no key has"),
        (["submit", "a", "--key", "a b"], "--key: the key has blanks"),
        (["submit", "a", "--key", ""], "--key: the key is empty"),
        (["submit", "a", "--key", "k", "--idempotency-key", "ä"], "--idempotency-key: must be 1 to 255 visible ASCII"),
        (["submit", "a", "--key", "k", "--idempotency-key", ""], "--idempotency-key: must be 1 to 255 visible ASCII"),
        (["batches", "results", "", "--key", "k"], "'' is no id of a batch (batch_…)"),
        (["batches", "cancel", "job_1", "--key", "k"], "'job_1' is no id of a batch (batch_…)"),
        (["watch", "batch_../x", "--key", "k"], "'batch_../x' is no id"),
        (["jobs", "--key", "k", "--url", ""], "--url: '' is no address such as"),
        (["jobs", "--key", "k", "--url", "http://a:99999"], "--url: 'http://a:99999' is no address such as"),
        (["jobs", "--key", "k", "--url", "http://me:pw@a"], "--url: must hold no user name, password or query"),
        (["jobs", "--key", "k", "--url", "ftp://x"], "--url: 'ftp://x' is no address such as"),
        (["jobs", "--key", "k", "--since", "yesterday"], "--since: give a time such as"),
        (["watch", "evt_1"], "'evt_1' is no id of a job (job_…) or a batch (batch_…)"),
        (["cancel", "evt_1"], "'evt_1' is no id"),
        (["retry", "batch_1", "--fresh"], "--fresh: is for a job, not for a batch"),
        (["retry", "job_1", "--include", "a"], "--include: is for a batch, not for a job"),
        (["batch", "nothing.jsonl", "--key", "k"], "nothing.jsonl: No such file or directory"),
        (["batch", ".", "--format", "txt", "--key", "k"], ".: Is a directory"),
        (["batch", "jobs.xlsx", "--key", "k"], "jobs.xlsx: ends in none of .jsonl, .ndjson, .csv, .txt; say --format"),
        (["batch", "-", "--key", "k"], "stdin: has no jobs"),
        (["batch", "nothing.txt", "--download", "d", "--key", "k"], "nothing.txt: No such file or directory"),
        (["batch", "a.txt", "--no-wait", "--download", "d"], "--no-wait: does not go with --download"),
    ],
)
def test_wrong_usage_is_said_in_one_line_before_anything_is_sent(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    done = run(*arguments, directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"darkroom: {says}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["submit", "a"], ["watch", "job_1"], ["jobs"], ["status"], ["batches", "list"], ["batches", "results", "batch_1"]],
    ids=" ".join,
)
def test_a_service_that_is_not_there_is_said_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, directory=tmp_path, DARKROOM_API_KEY="k", DARKROOM_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("darkroom: no answer from the API at http://127.0.0.1:9 (ConnectError")
    assert line.endswith("; is it running?")


def test_keys_are_listed_hidden_and_in_the_order_they_are_used(tmp_path: Path) -> None:
    (tmp_path / ".darkroom").mkdir()
    (tmp_path / ".darkroom" / "api-key").write_text("dk_kept_by_make_run\n")
    done = run(
        "keys",
        directory=tmp_path,
        DARKROOM_URL="http://127.0.0.1:9",
        DARKROOM_API_KEYS="acme:dk_key_of_acme,umbra:short",
        DARKROOM_ADMIN_KEYS="ops:dka_key_of_ops",
    )
    assert done.returncode == 0, done.stderr
    rows = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    assert rows[1:5] == [
        ["tenant", "acme", "…acme", "DARKROOM_API_KEYS (used by the client)", "not known"],
        ["tenant", "umbra", "…", "DARKROOM_API_KEYS", "not known"],
        ["tenant", "…_run", ".darkroom/api-key", "not known"],
        ["operator", "ops", "…_ops", "DARKROOM_ADMIN_KEYS", "not known"],
    ]
    assert "no answer from http://127.0.0.1:9" in done.stdout
    assert "short" not in done.stdout
    nothing = run("keys", directory=tmp_path / ".darkroom")
    assert nothing.stdout.startswith("no keys: none is set")


@pytest.mark.parametrize("command", [*COMMANDS, []], ids=" ".join)
def test_the_base_dependencies_are_enough(command: list[str], tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    distributions = {re.split(r"[\[<>=~ ]", name)[0] for name in extras}
    blocked = {NAMES.get(name, name.replace("-", "_")) for name in distributions} - BASE_IMPORTS
    assert {"redis", "fastapi", "celery", "boto3", "orjson", "pydantic_settings", "ulid"} <= blocked
    program = ("-c", BLOCKER, ",".join(sorted(blocked)))
    assert run(*command, "--help", directory=tmp_path, program=program).returncode == 0
    if command:
        given = {"watch": ["job_1"], "submit": ["a"], "cancel": ["job_1"], "retry": ["job_1"], "batch": ["p.txt"]}
        ids = ["batch_1"] if command[0] == "batches" and command[1] != "list" else given.get(command[0], [])
        (tmp_path / "p.txt").write_text("a fox\n")
        env = {"DARKROOM_API_KEY": "k", "DARKROOM_URL": "http://127.0.0.1:9"}
        done = run(*command, *ids, directory=tmp_path, program=program, **env)
        assert "is it running?" in done.stderr or command == ["keys"], done.stderr
