"""Jobs in a CSV file: the columns are a job's fields, `metadata.KEY` and `webhook_url`; an empty cell is a field unset.

UTF-8, commas, the names of the columns in the first row. A cell may hold line breaks, in quotes.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_METADATA = "metadata."
_WEBHOOK = "webhook_url"
_TEXTS = ("prompt", "size", "priority", "custom_id", _WEBHOOK)
_NUMBERS = ("max_images", "expires_in")
_FLAGS = {"enable_base64_output", "enable_sync_mode"}
COLUMNS = (*_TEXTS, *_NUMBERS, *sorted(_FLAGS))
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Row:
    """A row's job; `number` is the line that it starts on."""

    number: int
    job: dict[str, Any]
    problem: str | None


def rows_of_csv(lines: Iterable[str]) -> Iterator[Row]:
    """Read the rows under the header.

    Raises:
        ValueError: the header is wrong, or the rows can't be told apart any more. Its text follows the file's name.
    """
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    started = 0
    columns: list[str] = []
    try:
        for cells in reader:
            number, started = started + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if columns:
                yield _row(number, columns, cells)
            else:
                columns = _header(number, cells)
    except csv.Error as error:
        raise ValueError(f", line {started + 1}: is no CSV: {error}") from None


def _header(number: int, cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    for column in columns:
        if column not in COLUMNS and not (column.startswith(_METADATA) and column != _METADATA):
            names = f"{', '.join(COLUMNS)}, metadata.KEY"
            raise ValueError(f", line {number}: there is no column {column[:80]!r}; there are {names}")
        if columns.count(column) > 1:
            raise ValueError(f", line {number}: the column {column} is there twice")
    if "prompt" not in columns:
        raise ValueError(f", line {number}: the column prompt is missing")
    return columns


def _row(number: int, columns: list[str], cells: list[str]) -> Row:
    job: dict[str, Any] = {}
    problems = []
    for column, cell in zip(columns, cells, strict=False):
        text = cell if column == "prompt" else cell.strip()
        if not text.strip():
            continue
        value = _value(column, text)
        if value is None:
            kind = "true or false" if column in _FLAGS else "a whole number"
            problems.append(f"{column}: {text[:40]!r} is not {kind}")
        _set(job, column, text if value is None else value)
    if len(cells) > len(columns):
        job[f"column {len(columns) + 1}"] = cells[len(columns)]  # nobody's field: refused where it is sent
        problems.append(f"has {len(cells)} cells, the header {len(columns)}; put a cell with commas in quotes")
    if "prompt" not in job:
        problems.append("prompt: is empty")
    return Row(number, job, "; ".join(problems) or None)


def _value(column: str, text: str) -> Any:
    """Give a cell's value, None where it is of the wrong kind."""
    if column in _FLAGS:
        return _TRUTH.get(text.lower())
    if column in _NUMBERS:
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None
    return text


def _set(job: dict[str, Any], column: str, value: Any) -> None:
    if column.startswith(_METADATA):
        job.setdefault("metadata", {})[column.removeprefix(_METADATA)] = value
    elif column == _WEBHOOK:
        job["webhook"] = {"url": value}
    else:
        job[column] = value
