"""The body of a batch: lines from a file or from anything that yields jobs, made while they are sent."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from darkroom.jobs import JobRequest

Line = JobRequest | Mapping[str, Any] | bytes | str
Lines = str | os.PathLike[str] | Iterable[Line]
"""A path to a file of JSON lines, or jobs one by one."""

CHUNK_BYTES = 64 * 1024


def body_of(lines: Lines) -> "FileBody | LinesBody":
    """Choose how these are sent; a text is a path."""
    return FileBody(lines) if isinstance(lines, (str, os.PathLike)) else LinesBody(lines)


class FileBody:
    """A file, as it is."""

    fresh = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path

    def chunks(self) -> Iterator[bytes]:
        """Read it from its beginning; raises OSError where it can't be read."""
        with open(self._path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


class LinesBody:
    """Jobs one by one. What can be iterated only once can be sent only once."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = lines
        self._once = isinstance(lines, Iterator)
        self._begun = False

    @property
    def fresh(self) -> bool:
        """Whether it can be sent from its beginning."""
        return not (self._once and self._begun)

    def chunks(self) -> Iterator[bytes]:
        """Write the lines, many to a chunk."""
        self._begun = True
        held = bytearray()
        for number, line in enumerate(self._lines, 1):
            held += written(line, number)
            held += b"\n"
            if len(held) >= CHUNK_BYTES:
                yield bytes(held)
                held.clear()
        if held:
            yield bytes(held)


def written(line: Line, number: int) -> bytes:
    """Write one line, without its end; of a `JobRequest` what was set, so that the batch's own defaults still hold.

    Raises:
        ValueError: it holds a line break (all lines after it would get another number), or can't be JSON.
        TypeError: it is none of the four kinds.
    """
    if isinstance(line, str):
        line = line.encode()
    if isinstance(line, bytes):
        line = line.rstrip(b"\r\n")
        if b"\n" in line:
            raise ValueError(f"line {number} of the batch holds a line break; give one job at a time")
        return line
    if isinstance(line, JobRequest):
        return line.model_dump_json(exclude_unset=True).encode()
    if not isinstance(line, Mapping):
        raise TypeError(f"line {number} of the batch is a {type(line).__name__}, not a job, a mapping or text")
    try:
        return json.dumps(dict(line), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"line {number} of the batch can't be written as JSON: {error}") from None
