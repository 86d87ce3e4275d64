"""A batch's lines, written while they are sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.client.uploads import CHUNK_BYTES, body_of
from darkroom.jobs import JobRequest


def test_every_kind_of_line_is_written() -> None:
    lines: list[Any] = [
        JobRequest(prompt="Füchse\u2028", max_images=4),
        {"prompt": "two", "metadata": {"a": "b"}},
        '{"prompt": "three"}\r\n',
        b'{"prompt": "four"}\n',
        "",
    ]
    written = b"".join(body_of(lines).chunks())
    assert written.endswith(b"\n")
    rows = written.decode().split("\n")
    assert json.loads(rows[0]) == {"prompt": "Füchse\u2028", "max_images": 4}, "defaults are left to the batch"
    assert json.loads(rows[1]) == {"prompt": "two", "metadata": {"a": "b"}}
    assert rows[2:] == ['{"prompt": "three"}', '{"prompt": "four"}', "", ""]


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        ('{"prompt":\n"x"}', ValueError, "line 2 .* line break"),
        ({"prompt": object()}, ValueError, "line 2"),
        ({"expires_in": float("nan")}, ValueError, "line 2"),
        (17, TypeError, "line 2 .* int"),
    ],
)
def test_a_line_that_is_none_is_named(line: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        list(body_of([{"prompt": "one"}, line]).chunks())


def test_lines_are_taken_only_as_they_are_sent() -> None:
    taken = 0

    def lines() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(50_000):
            taken += 1
            yield b'{"prompt": "' + b"x" * 100 + b'"}'

    chunks = body_of(lines()).chunks()
    assert CHUNK_BYTES <= len(next(chunks)) < CHUNK_BYTES + 200
    assert taken < 1_000


def test_a_file_is_sent_as_it_is_and_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"prompt": "x"}\n\n' * 20_000)
    for given in (path, str(path)):
        body = body_of(given)
        assert b"".join(body.chunks()) == b"".join(body.chunks()) == path.read_bytes()
        assert body.fresh
        assert max(len(chunk) for chunk in body.chunks()) <= CHUNK_BYTES
