"""Outputs as files: where each belongs, and a file that appears whole or not at all."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.client.errors import DownloadFailed
from darkroom.jobs import Job, Output

_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def path_of(job: Job, output: Output, directory: Path) -> Path:
    """Give where an output belongs: `<directory>/<job_id>/<index:02d>.<ext>`.

    Raises:
        DownloadFailed: the job's id is no file name.
    """
    if not job.id or job.id != Path(job.id).name or job.id in (".", ".."):
        raise DownloadFailed("the job's id can't be a directory's name")
    ending = _EXTENSIONS.get(output.content_type) or Path(output.key).suffix.lstrip(".") or "bin"
    return directory / job.id / f"{output.index:02d}.{ending}"


def is_there(path: Path, output: Output) -> bool:
    """Whether the file is there with the size that the job says."""
    return path.is_file() and path.stat().st_size == output.bytes


class Part:
    """A file in the making: `write` what comes, then `finish`."""

    def __init__(self, temporary: Path, path: Path, output: Output) -> None:
        self._temporary = temporary
        self._path = path
        self._output = output
        self._file = temporary.open("wb")
        self._hash = hashlib.sha256()
        self._size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append."""
        self._file.write(chunk)
        self._hash.update(chunk)
        self._size_bytes += len(chunk)

    def finish(self) -> Path:
        """Put the whole file in its place.

        Raises:
            DownloadFailed: it is not what the job says.
        """
        self._file.close()
        if self._size_bytes != self._output.bytes:
            raise DownloadFailed(f"{self._path.name} has {self._size_bytes} bytes, not {self._output.bytes}")
        if self._hash.hexdigest() != self._output.sha256:
            raise DownloadFailed(f"{self._path.name} has another sha256 than the job says")
        os.replace(self._temporary, self._path)
        return self._path

    def close(self) -> None:
        """Leave nothing of it, unless it was finished."""
        try:
            self._file.close()  # a full disk says so here once more
        finally:
            self._temporary.unlink(missing_ok=True)


@contextmanager
def part_of(path: Path, output: Output) -> Iterator[Part]:
    """Make a file beside its place, under a name of its own so that two at once don't mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Part(path.with_name(f"{path.name}.{secrets.token_hex(4)}.part"), path, output)
    try:
        yield part
    finally:
        part.close()
