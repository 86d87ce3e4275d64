"""Fetches jobs' images into one directory, several jobs at once, each image once; ending early leaves no half file."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.errors import DarkroomError

if TYPE_CHECKING:
    from types import TracebackType

    from darkroom.client import AsyncClient
    from darkroom.jobs import Job

AT_ONCE = 8


class DirectoryTakenError(DarkroomError):
    """Another command fetches into this directory."""


@contextmanager
def only_here(directory: Path | None, *, shared: bool = False) -> Iterator[None]:
    """Be the only one in a directory, which is made, for the time of a block; the kernel lets go of what was killed.

    With `shared`, others who share it may be there too.

    Raises:
        DirectoryTakenError: somebody else is in it.
        OSError: it can't be made.
    """
    if directory is None:
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    held = os.open(directory, os.O_RDONLY)
    try:
        _lock(held, directory, shared=shared)
        yield
    finally:
        os.close(held)


def _lock(held: int, directory: Path, *, shared: bool) -> None:
    try:
        import fcntl  # not on Windows

        fcntl.flock(held, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DirectoryTakenError(f"{directory}: another command fetches images into it") from None
    except (ImportError, OSError):  # a file system without locks: nothing is promised there
        return


async def fetch_alone(client: "AsyncClient", job: "Job", directory: Path) -> list[Path]:
    """Fetch one job's images, as the only one in the job's own directory.

    Raises:
        DirectoryTakenError: somebody else is in it.
        DarkroomError: an image can't be fetched.
        OSError: the directory can't be written to.
    """
    with only_here(directory / job.id):
        _sweep(directory / job.id)
        return await client.download(job, directory)


class Downloads:
    """Open it for the time of a block: whatever ends the block ends what is under way.

    One at a time in a directory (`only_here`): what a killed command has left of a job in the making is removed.
    `images` and `size_bytes` count what is in the directory of the jobs that were added, from this run or an earlier
    one; `failed` says by job why its images could not be fetched.
    """

    def __init__(self, client: "AsyncClient", directory: Path) -> None:
        self.directory = directory
        self.images = 0
        self.size_bytes = 0
        self.failed: dict[str, str] = {}
        self._client = client
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._added: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: Exception | None = None

    async def __aenter__(self) -> "Downloads":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def add(self, job: "Job") -> None:
        """Fetch a completed job's images; returns once there is room for it to begin. A job added before is not again.

        Raises:
            OSError: the directory can't be written to.
        """
        if job.id in self._added:
            return
        self._added.add(job.id)
        await self._slots.acquire()
        self._raise_if_broken()
        task = asyncio.create_task(self._fetch(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for everything that was added.

        Raises:
            OSError: the directory can't be written to.
        """
        await asyncio.gather(*self._tasks)
        self._raise_if_broken()

    async def _fetch(self, job: "Job") -> None:
        try:
            _sweep(self.directory / job.id)
            paths = await self._client.download(job, self.directory)
            self.images += len(paths)
            self.size_bytes += sum(path.stat().st_size for path in paths)
        except DarkroomError as error:
            self.failed[job.id] = str(error)
        except OSError as error:  # a full disk, as a rule; told by whoever adds or finishes, as the next
            self._broken = OSError(error.errno, error.strerror, str(self.directory / job.id))
        except Exception as error:
            self._broken = error
        finally:
            self._slots.release()

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken


def _sweep(directory: Path) -> None:
    for part in directory.glob("*.part"):
        part.unlink(missing_ok=True)
