"""A batch's file as it is sent: each job at its line, every bad line named, nothing changed that need not be."""

import hashlib
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from darkroom.cli import batch_lines
from darkroom.cli.batch_lines import BadFileError, Kind, Prepared, prepare


def prepared(text: str | bytes, kind: Kind, directory: Path, *, skip: bool = False, **defaults: Any) -> Prepared:
    raw = text if isinstance(text, bytes) else text.encode()
    return prepare(io.BytesIO(raw), io.BytesIO(), name=f"f.{kind}", kind=kind, defaults=defaults, skip_invalid=skip)


def sent(found: Prepared) -> dict[int, Any]:
    """Read what is sent as the service does: by line number, blank lines passed over."""
    lines = b"".join(found).split(b"\n")
    return {number: json.loads(line) for number, line in enumerate(lines, 1) if line}


def problems(text: str | bytes, kind: Kind, directory: Path) -> list[str]:
    with pytest.raises(BadFileError) as caught:
        prepared(text, kind, directory)
    return caught.value.problems


def test_lines_of_json_keep_their_bytes_and_their_numbers(tmp_path: Path) -> None:
    text = '\ufeff{"prompt": "a  fox"}\r\n\n  {"prompt":"b\\u00e9","max_images":2}\n\n\n{"prompt": "c"}'
    found = prepared(text, Kind.JSONL, tmp_path)
    content = b'{"prompt": "a  fox"}\n\n{"prompt":"b\\u00e9","max_images":2}\n\n\n{"prompt": "c"}\n'
    assert b"".join(found) == content
    assert found.numbers == [1, 3, 6]
    assert found.sha256 == hashlib.sha256(content).hexdigest()


def test_defaults_are_for_lines_that_do_not_say(tmp_path: Path) -> None:
    text = '{"prompt": "a"}\n{"prompt": "b", "max_images": 1, "size": null}\n'
    assert sent(prepared(text, Kind.JSONL, tmp_path, max_images=4, size="2048x2048")) == {
        1: {"prompt": "a", "max_images": 4, "size": "2048x2048"},
        2: {"prompt": "b", "max_images": 1, "size": None},
    }


def test_half_a_surrogate_pair_is_left_to_the_service(tmp_path: Path) -> None:
    assert sent(prepared('{"prompt": "\\ud800"}', Kind.JSONL, tmp_path, max_images=4))[1]["prompt"] == "\ud800"


def test_every_bad_line_of_json_is_named(tmp_path: Path) -> None:
    text = b'{"prompt": "a"}\n{"prompt": "b",}\n\n["c"]\n"d"\n{"prompt": "\xff"}\n' + b"[" * 200_000
    assert problems(text, Kind.JSONL, tmp_path) == [
        "f.jsonl, line 2: is no JSON: Expecting property name enclosed in double quotes at character 16",
        'f.jsonl, line 4: must be a JSON object such as {"prompt": "a fox"}',
        'f.jsonl, line 5: must be a JSON object such as {"prompt": "a fox"}',
        "f.jsonl, line 6: is not UTF-8",
        "f.jsonl, line 7: is no JSON that can be read",
    ]


def test_many_bad_lines_are_cut_short(tmp_path: Path) -> None:
    said = problems("x\n" * 25, Kind.JSONL, tmp_path)
    assert len(said) == 21
    assert said[-1] == "… and 5 more bad lines"


def test_bad_lines_are_sent_as_they_are_where_the_service_skips_them(tmp_path: Path) -> None:
    found = prepared('{"prompt": "a"}\nnope\n', Kind.JSONL, tmp_path, skip=True)
    assert (b"".join(found), found.numbers) == (b'{"prompt": "a"}\nnope\n', [1, 2])


def test_prompts_a_line(tmp_path: Path) -> None:
    found = prepared("\n a fox \n\n\tein Bär\n", Kind.TXT, tmp_path, max_images=2)
    assert sent(found) == {2: {"max_images": 2, "prompt": "a fox"}, 4: {"max_images": 2, "prompt": "ein Bär"}}
    assert problems(b"a\n\xff\n", Kind.TXT, tmp_path) == ["f.txt, line 2: is not UTF-8"]
    assert problems("a\rb\rc", Kind.TXT, tmp_path) == [
        "f.txt, line 1: holds a CR in its middle; lines must end in LF or CRLF"
    ]


def test_what_is_sent_can_be_sent_again(tmp_path: Path) -> None:
    found = prepared("a\n\nb\n", Kind.TXT, tmp_path)
    assert list(found) == list(found) == [b'{"prompt":"a"}\n', b"\n", b'{"prompt":"b"}\n']


def test_a_file_of_bad_lines_alone_is_not_held_in_memory(tmp_path: Path) -> None:
    text = b"x\n" * 100_000
    tracemalloc.start()
    said = problems(text, Kind.JSONL, tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said[-1] == "… and 99,980 more bad lines"
    assert most < 5_000_000


def test_columns_are_fields(tmp_path: Path) -> None:
    text = (
        "prompt,max_images,metadata.order,metadata.panel,webhook_url,enable_sync_mode,custom_id\n"
        'a fox,2,1234,,https://example.com/h,TRUE,p1\n\n"two\nlines, and a comma", 3 ,,x,,,\nlast,,,,,,\n'
    )
    assert sent(prepared(text, Kind.CSV, tmp_path, size="2048x2048")) == {
        2: {
            "size": "2048x2048",
            "prompt": "a fox",
            "max_images": 2,
            "metadata": {"order": "1234"},
            "webhook": {"url": "https://example.com/h"},
            "enable_sync_mode": True,
            "custom_id": "p1",
        },
        4: {"size": "2048x2048", "prompt": "two\nlines, and a comma", "max_images": 3, "metadata": {"panel": "x"}},
        6: {"size": "2048x2048", "prompt": "last"},
    }


def test_every_bad_row_is_named_by_the_line_that_it_starts_on(tmp_path: Path) -> None:
    text = 'prompt,max_images,enable_sync_mode\n"a\nb",four,maybe\n,1\nc,1,true,extra\nd,-1\n'
    assert problems(text, Kind.CSV, tmp_path) == [
        "f.csv, line 2: max_images: 'four' is not a whole number; enable_sync_mode: 'maybe' is not true or false",
        "f.csv, line 4: prompt: is empty",
        "f.csv, line 5: has 4 cells, the header 3; put a cell with commas in quotes",
        "f.csv, line 6: max_images: '-1' is not a whole number",
    ]


def test_bad_cells_are_sent_as_text_where_the_service_skips_them(tmp_path: Path) -> None:
    found = prepared("prompt,max_images\na,four\nb,1,c\n", Kind.CSV, tmp_path, skip=True)
    assert sent(found) == {
        2: {"prompt": "a", "max_images": "four"},
        3: {"prompt": "b", "max_images": 1, "column 3": "c"},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("text,size\na,b\n", "f.csv, line 1: there is no column 'text'; there are prompt, size, "),
        ("prompt;size\na;b\n", "f.csv, line 1: there is no column 'prompt;size'"),
        ("prompt,metadata.\na,b\n", "f.csv, line 1: there is no column 'metadata.'"),
        ("\nprompt,size,size\n", "f.csv, line 2: the column size is there twice"),
        ("size\n2048x2048\n", "f.csv, line 1: the column prompt is missing"),
        ('prompt\na\n"b\n', "f.csv, line 3: is no CSV: unexpected end of data"),
        ('prompt\n"a"b\n', "f.csv, line 2: is no CSV: "),
        (b"prompt\n\xff\n", "f.csv, line 2: is not UTF-8"),
        ("prompt\n", "f.csv: has no jobs"),
    ],
)
def test_a_file_that_is_no_table_is_refused(text: str | bytes, says: str, tmp_path: Path) -> None:
    (line,) = problems(text, Kind.CSV, tmp_path)
    assert line.startswith(says)


@pytest.mark.parametrize("text", ["", "\n\n", "  \n"])
def test_a_file_without_jobs_is_refused(text: str, tmp_path: Path) -> None:
    assert problems(text, Kind.JSONL, tmp_path) == ["f.jsonl: has no jobs"]


def test_what_a_batch_can_not_take_is_refused_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems("a\n" * 50_001, Kind.TXT, tmp_path) == [
        "f.txt: has 50,001 jobs; a batch takes 50,000 at most: split it"
    ]
    monkeypatch.setattr(batch_lines, "MOST_BYTES", 1_000_000)
    for text in ("a" * 1_000_001, "a\n" * 500_001, "a" * 999_999):
        assert problems(text, Kind.TXT, tmp_path) == ["f.txt: is more than 1 MB; a batch takes no more: split it"]
