"""What the stack keeps between runs: its lock, its ports, its keys."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError
from darkroom.settings import WebhookSettings
from deploy.embedded.credentials import ensure_credentials
from deploy.embedded.lock import locked
from deploy.embedded.ports import remembered_ports


def test_a_second_stack_on_the_same_directory_is_refused_by_name(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigurationError, match=r"DARKROOM_DATA_DIR: .* in use by") as caught:  # noqa: SIM117
        with locked(tmp_path):
            pass
    assert str(os.getpid()) in str(caught.value)


def test_the_directory_is_free_again_after_a_stack_ended(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text().strip() == str(os.getpid())


def test_a_dead_supervisors_children_hold_the_lock_until_they_are_gone(tmp_path: Path) -> None:
    with locked(tmp_path) as descriptor:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(descriptor,)
        )
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "lock").write_text(f"{dead.pid}\n")
    release = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill {child.pid}"])
    with locked(tmp_path):
        assert child.wait(5) != 0  # the lock came only when the child had gone
    release.wait()
    assert child.stdin is not None
    child.stdin.close()


def test_ports_stay_the_same_while_they_are_free(tmp_path: Path) -> None:
    first = remembered_ports(tmp_path, ("valkey", "s3"))
    assert len(set(first.values())) == 2
    assert remembered_ports(tmp_path, ("valkey", "s3")) == first


def test_a_remembered_port_that_was_taken_is_replaced(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "ports.json").write_text(json.dumps({"valkey": port}))
        assert remembered_ports(tmp_path, ("valkey",))["valkey"] != port


@pytest.mark.parametrize("content", ["", "[1]", '{"valkey": "x"}', '{"valkey": 70000}'])
def test_a_spoilt_port_file_is_made_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    assert 0 < remembered_ports(tmp_path, ("valkey",))["valkey"] < 65_536


def test_keys_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    first = ensure_credentials(directory)
    assert ensure_credentials(directory) == first
    assert first.api_key.startswith("dk_")
    assert (directory / "api-key").read_text().strip() == first.api_key
    assert (directory / "webhook-secret").read_text().strip() == first.webhook_secret
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}
    assert first.api_key not in repr(first)


def test_a_made_webhook_secret_is_one_that_the_settings_accept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = ensure_credentials(tmp_path).webhook_secret
    monkeypatch.setenv("DARKROOM_WEBHOOK_SECRET", secret)
    assert WebhookSettings().secrets == [secret]
