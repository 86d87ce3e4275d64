"""A batch's file as it is sent: a JSON object a line, each at the very line that it has in the file.

What the service says of line 7 is so line 7 of the file, be it JSON lines, CSV or plain prompts. What can't be sent at
all (no JSON, a number that is none) is found here, every bad line at once; the rules of the fields are the service's.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO

from darkroom.cli.batch_tables import rows_of_csv
from darkroom.errors import DarkroomError

MOST_JOBS = 50_000
MOST_BYTES = 200_000_000
MOST_PROBLEMS = 20
_BOM = b"\xef\xbb\xbf"


class Kind(StrEnum):
    """How a file is read."""

    JSONL = "jsonl"
    CSV = "csv"
    TXT = "txt"


KIND_OF_SUFFIX = {".jsonl": Kind.JSONL, ".ndjson": Kind.JSONL, ".csv": Kind.CSV, ".txt": Kind.TXT}


class BadFileError(DarkroomError):
    """A file can't be sent as it is; `problems` says why, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Line:
    """One job as it is sent, and what is wrong with it as far as that can be told here."""

    number: int
    body: bytes
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is ready to be sent: the lines that are jobs by their numbers, and the SHA-256 of the content.

    It gives its lines, blank ones included, each time that it is gone through; `file` holds them and stays open.
    """

    file: BinaryIO
    numbers: list[int]
    sha256: str

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(0)
        yield from self.file


def prepare(
    source: BinaryIO, into: BinaryIO, *, name: str, kind: Kind, defaults: Mapping[str, Any], skip_invalid: bool = False
) -> Prepared:
    """Write the lines of `source` to the file `into` as they are sent; `defaults` are for lines without these fields.

    With `skip_invalid`, bad lines are sent as they are: the service passes them over and says so.

    Raises:
        BadFileError: lines are bad, there is none, or there are too many.
    """
    digest, numbers, problems = hashlib.sha256(), list[int](), list[str]()
    jobs = bad = size = at = 0
    for line in _READERS[kind](_bounded(source, name), name, defaults):
        jobs += 1
        if jobs <= MOST_JOBS:
            numbers.append(line.number)
        if line.problem is not None and not skip_invalid:
            bad += 1
            if bad <= MOST_PROBLEMS:
                problems.append(f"{name}, line {line.number}: {line.problem}")
        text = b"\n" * (line.number - 1 - at) + line.body + b"\n"
        at = line.number
        size += len(text)
        digest.update(text)
        if size <= MOST_BYTES:
            into.write(text)
    if bad > len(problems):
        problems.append(f"… and {bad - len(problems):,} more bad lines")
    if problems:
        raise BadFileError(problems)
    if not jobs:
        raise BadFileError([f"{name}: has no jobs"])
    if jobs > MOST_JOBS:
        raise BadFileError([f"{name}: has {jobs:,} jobs; a batch takes {MOST_JOBS:,} at most: split it"])
    if size > MOST_BYTES:
        raise BadFileError([_too_big(name)])
    into.flush()
    return Prepared(into, numbers, digest.hexdigest())


def _bounded(source: BinaryIO, name: str) -> Iterator[bytes]:
    """Give the lines without their ends, and no more than may be sent: what has no end of line is not read for ever."""
    size = 0
    for raw in iter(lambda: source.readline(MOST_BYTES + 1), b""):
        size += len(raw)
        if size > MOST_BYTES:
            raise BadFileError([_too_big(name)])
        first = raw.removeprefix(_BOM) if size == len(raw) else raw
        yield first.rstrip(b"\r\n")


def _too_big(name: str) -> str:
    return f"{name}: is more than {MOST_BYTES // 1_000_000} MB; a batch takes no more: split it"


def _jsonl(lines: Iterable[bytes], name: str, defaults: Mapping[str, Any]) -> Iterator[Line]:
    for number, raw in enumerate(lines, 1):
        text = raw.strip()
        if not text:
            continue
        try:
            job = json.loads(text)
        except UnicodeDecodeError:
            yield Line(number, text, "is not UTF-8")
        except json.JSONDecodeError as error:
            yield Line(number, text, f"is no JSON: {error.msg} at character {error.colno}")
        except (ValueError, RecursionError):
            yield Line(number, text, "is no JSON that can be read")
        else:
            if isinstance(job, dict):
                yield Line(number, encoded({**defaults, **job}) if defaults else text)
            else:
                yield Line(number, text, 'must be a JSON object such as {"prompt": "a fox"}')


def _txt(lines: Iterable[bytes], name: str, defaults: Mapping[str, Any]) -> Iterator[Line]:
    for number, text in enumerate(_decoded(lines, name), 1):
        prompt = text.strip()
        if prompt:
            problem = "holds a CR in its middle; lines must end in LF or CRLF" if "\r" in prompt else None
            yield Line(number, encoded({**defaults, "prompt": prompt}), problem)


def _csv(lines: Iterable[bytes], name: str, defaults: Mapping[str, Any]) -> Iterator[Line]:
    try:
        for row in rows_of_csv(_decoded(lines, name)):
            yield Line(row.number, encoded({**defaults, **row.job}), row.problem)
    except ValueError as error:
        raise BadFileError([f"{name}{error}"]) from None


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, raw in enumerate(lines, 1):
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            raise BadFileError([f"{name}, line {number}: is not UTF-8"]) from None


def encoded(job: Mapping[str, Any]) -> bytes:
    """Write a job as it is sent."""
    try:
        return json.dumps(job, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair: for the service to refuse
        return json.dumps(job, separators=(",", ":")).encode()


_READERS: dict[Kind, Callable[[Iterable[bytes], str, Mapping[str, Any]], Iterator[Line]]] = {
    Kind.JSONL: _jsonl,
    Kind.CSV: _csv,
    Kind.TXT: _txt,
}
