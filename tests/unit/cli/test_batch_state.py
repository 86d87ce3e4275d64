"""What a batch's file has become: the key that is made of it, and the memory of what was sent."""

import errno
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from darkroom.cli.batch_state import (
    Memory,
    UnreadableStateError,
    accepted,
    another_upload,
    beside_file,
    content_key,
    first_upload,
)

URL, SHA = "http://127.0.0.1:8000", "0" * 64
OPTIONS = {"webhook": None, "metadata": {"a": "1", "b": "2"}, "priority": None, "on_invalid": "refuse"}


def test_the_key_is_made_of_content_and_options() -> None:
    key = content_key(SHA, OPTIONS)
    assert key == content_key(SHA, {**OPTIONS, "metadata": {"b": "2", "a": "1"}})
    assert key != content_key("1" * 64, OPTIONS)
    assert key != content_key(SHA, {**OPTIONS, "priority": "high"})
    assert key.isascii()
    assert len(key) < 255


def test_the_key_of_today_is_the_key_of_tomorrow() -> None:
    assert content_key(SHA, {"priority": None}) == (
        "cli-8c2353d384016d8a8eac8287e4bd5e3f94fc2c364ab2c647caccfcb0f330c6cb"
    )


def test_an_upload_is_found_again_by_service_and_content(tmp_path: Path) -> None:
    memory = Memory([tmp_path / "shots" / "state.json"])
    assert memory.find(URL, "k") is None
    sent = first_upload(URL, "k")
    memory.keep(URL, "k", sent)
    assert memory.find(URL, "k") == sent
    memory.keep(URL, "k", accepted(sent, "batch_1"))
    memory.keep(URL, "other", first_upload(URL, "other"))
    found = Memory([tmp_path / "shots" / "state.json"]).find(URL, "k")
    assert found is not None
    assert (found.batch_id, found.idempotency_key, found.sent_at) == ("batch_1", "k", sent.sent_at)
    assert memory.find("http://elsewhere:8000", "k") is None
    memory.keep(URL, "k", None)
    assert memory.find(URL, "k") is None
    assert memory.find(URL, "other") is not None
    assert [path.name for path in (tmp_path / "shots").iterdir()] == ["state.json"]


def test_what_another_place_remembers_is_found_and_the_newest_counts(tmp_path: Path) -> None:
    near, far = tmp_path / "near.json", beside_file(tmp_path / "prompts.txt")
    assert far.name == ".prompts.txt.darkroom-batches.json"
    Memory([far]).keep(URL, "k", accepted(first_upload(URL, "k"), "batch_old"))
    both = Memory([near, far])
    found = both.find(URL, "k")
    assert found is not None
    assert found.batch_id == "batch_old"
    again = another_upload(URL, "k")
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    both.keep(URL, "k", accepted(type(again)(URL, again.idempotency_key, later), "batch_new"))
    found = both.find(URL, "k")
    assert found is not None
    assert found.batch_id == "batch_new"
    assert found.idempotency_key.startswith("k-")
    for path in (near, far):
        assert "batch_new" in path.read_text()


def test_either_place_alone_remembers(tmp_path: Path) -> None:
    near, far = tmp_path / "shots" / "state.json", tmp_path / "state.json"
    Memory([near, far]).keep(URL, "k", accepted(first_upload(URL, "k"), "batch_1"))
    for path in (near, far):
        found = Memory([path]).find(URL, "k")
        assert found is not None
        assert found.batch_id == "batch_1"
    Memory([near, far]).keep(URL, "k", None)
    assert not near.exists()
    assert not far.exists()


def test_an_answer_that_only_one_place_has_noted_counts(tmp_path: Path) -> None:
    near, far = tmp_path / "near.json", tmp_path / "far.json"
    sent = first_upload(URL, "k")
    Memory([near]).keep(URL, "k", accepted(sent, "batch_1"))
    Memory([far]).keep(URL, "k", sent)
    for both in (Memory([near, far]), Memory([far, near])):
        found = both.find(URL, "k")
        assert found is not None
        assert found.batch_id == "batch_1"


def test_the_second_place_may_be_read_only_but_not_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = tmp_path / "near.json", tmp_path / "read-only" / "far.json"
    far.parent.mkdir()
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.parent == far.parent and arguments == ("w",):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", refuse)
    Memory([near, far]).keep(URL, "k", first_upload(URL, "k"))
    assert Memory([near, far]).find(URL, "k") is not None
    with pytest.raises(OSError, match="Read-only"):
        Memory([far, near]).keep(URL, "k", first_upload(URL, "k"))


def test_without_a_place_nothing_is_remembered() -> None:
    memory = Memory([])
    memory.keep(URL, "k", first_upload(URL, "k"))
    assert memory.find(URL, "k") is None


def test_an_upload_without_an_answer_is_repeated_only_while_its_key_is_known() -> None:
    now = datetime.now(UTC)
    fresh = first_upload(URL, "k")
    old = type(fresh)(URL, "k", (now - timedelta(hours=25)).isoformat())
    assert not fresh.is_open_and_old
    assert old.is_open_and_old
    assert not accepted(old, "batch_1").is_open_and_old


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"version": 2, "batches": {}}',
        '{"version": 1, "batches": [1]}',
        '{"version": 1, "batches": {"k": {}}}',
        '{"version": 1, "batches": {"k": {"url": "u", "idempotency_key": "k", "sent_at": "x", "batch_id": null}}}',
    ],
)
def test_a_memory_that_is_none_is_not_taken_for_an_empty_one(content: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(UnreadableStateError, match=r"state\.json: can't be understood"):
        Memory([path]).find(URL, "k")
    with pytest.raises(UnreadableStateError):
        Memory([path]).keep(URL, "k", first_upload(URL, "k"))
    assert path.read_text() == content


def test_an_interrupted_write_leaves_the_old_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    Memory([path]).keep(URL, "k", accepted(first_upload(URL, "k"), "batch_1"))
    before = path.read_text()
    assert json.loads(before)["version"] == 1

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Memory([path]).keep(URL, "k", first_upload(URL, "k"))
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]
