"""What every example says, in one line, where the service or the key is missing; and that each is in the overview."""

import ast
import re
import socket
from pathlib import Path

import pytest

from tests.integration.examples.conftest import EXAMPLES, Folder
from tests.support.fleet import API_KEY, WEBHOOK_SECRET

SCRIPTS = {
    "comic_strip/strip.py": [],
    "line_up/line_up.py": [],
    "pipeline/pipeline.py": [],
    "pipeline/start.py": ["a fox"],
}
each_script = pytest.mark.parametrize("script", SCRIPTS)


@pytest.fixture
def closed_url() -> str:
    """Give an address at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@each_script
def test_a_service_that_is_not_there_is_said(folder: Folder, script: str, closed_url: str) -> None:
    line = folder.refused(script, *SCRIPTS[script], DARKROOM_URL=closed_url)
    assert re.fullmatch(rf"no answer from the API at {closed_url} \(.*\); does `make run` run\?", line)


@each_script
def test_a_missing_key_is_said(folder: Folder, script: str) -> None:
    line = folder.refused(script, *SCRIPTS[script], DARKROOM_API_KEY="")
    assert "DARKROOM_API_KEY is not set, and `make run` has left none in .darkroom/api-key" in line


@each_script
def test_a_wrong_key_is_said(folder: Folder, script: str) -> None:
    assert "401" in folder.refused(script, *SCRIPTS[script], DARKROOM_API_KEY="dk_wrong")


def test_a_missing_webhook_secret_is_said(folder: Folder) -> None:
    line = folder.refused("pipeline/pipeline.py", DARKROOM_WEBHOOK_SECRET="")
    assert line == "DARKROOM_WEBHOOK_SECRET is not set, and `make run` has left none in .darkroom/webhook-secret"


@each_script
def test_what_make_run_keeps_is_found(folder: Folder, script: str, closed_url: str) -> None:
    kept = folder.directory / ".darkroom"
    kept.mkdir()
    (kept / "api-key").write_text(f"{API_KEY}\n")
    (kept / "webhook-secret").write_text(f"{WEBHOOK_SECRET}\n")
    nothing = {"DARKROOM_API_KEY": "", "DARKROOM_WEBHOOK_SECRET": ""}
    line = folder.refused(script, *SCRIPTS[script], **nothing, DARKROOM_URL=closed_url)
    assert line.startswith("no answer from the API")


def test_the_commands_of_overview_and_docstrings_name_what_there_is() -> None:
    overview = (EXAMPLES / "README.md").read_text()
    for directory in filter(Path.is_dir, EXAMPLES.iterdir()):
        assert f"({directory.name}/" in overview, directory.name
    root = EXAMPLES.parent
    for script in SCRIPTS:
        said = ast.get_docstring(ast.parse((EXAMPLES / script).read_text())) or ""
        for path in re.findall(r"examples/[\w/]+\.py", said + overview):
            assert (root / path).is_file(), path
