"""Follows a batch to its end: looks at it, and has the images of what has completed fetched meanwhile."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from darkroom.batches import Batch
    from darkroom.cli.downloads import Downloads
    from darkroom.client import AsyncClient
    from darkroom.jobs import Job

LOOK_S = 1.0
_PAUSE_PER_READ = 10
"""Reading the results takes a tenth of the time at most, however long they have become."""

ENDS = ("completed", "failed", "canceled", "expired")


class BatchFollower:
    """Looks at one batch until it is over.

    `line_numbers` are the lines that are jobs, where they are known: results up to the first line that has not ended
    are then read once. `codes` counts, after `follow`, why jobs failed.
    """

    def __init__(
        self,
        client: "AsyncClient",
        batch: "Batch",
        *,
        downloads: "Downloads | None" = None,
        on_look: Callable[["Batch"], None] = lambda _: None,
        line_numbers: Sequence[int] = (),
    ) -> None:
        self.batch = batch
        self.codes: Counter[str] = Counter()
        self._client = client
        self._downloads = downloads
        self._on_look = on_look
        self._line_numbers = line_numbers
        self._read_before = 0  # how many of these lines, from the first on, have been read
        self._ends: dict[int, tuple[str, str]] = {}  # by line: status and error code

    async def follow(self) -> "Batch":
        """Return the batch once it is over and everything that was wanted of it is here.

        Raises:
            DarkroomError: the service went away for longer than the client tries.
            OSError: images can't be written.
        """
        if self._downloads is None:
            await self._look_until_over()
            await self._count_failures()
        else:
            await self._look_and_fetch(self._downloads)
        return self.batch

    async def _look_until_over(self) -> None:
        while True:
            self._on_look(self.batch)
            if self.batch.finished_at is not None:
                return
            await asyncio.sleep(LOOK_S)
            self.batch = await self._client.batch(self.batch.id)

    async def _count_failures(self) -> None:
        if self.batch.counts.failed:
            async for job in self._client.jobs(batch_id=self.batch.id, status="failed"):
                self.codes[_code(job)] += 1

    async def _look_and_fetch(self, downloads: "Downloads") -> None:
        looking = asyncio.create_task(self._look_until_over())
        try:
            await self._fetch_until_over(downloads, looking)
            await looking
            await self._take(downloads)
            if not self._knows_all:  # a retry meanwhile: what had ended has ended anew
                self._read_before, self._ends = 0, {}
                await self._take(downloads)
            await downloads.finish()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        self.codes = Counter(code for _, code in self._ends.values() if code)

    async def _fetch_until_over(self, downloads: "Downloads", looking: "asyncio.Task[None]") -> None:
        while not looking.done():
            took_s = 0.0
            if self.batch.counts.finished > len(self._ends):
                began = time.monotonic()
                await self._take(downloads)
                took_s = time.monotonic() - began
            await asyncio.wait([looking], timeout=max(LOOK_S, took_s * _PAUSE_PER_READ))

    async def _take(self, downloads: "Downloads") -> None:
        after = self._line_numbers[self._read_before - 1] if self._read_before else 0
        async for result in self._client.results(self.batch.id, after=after):
            self._ends[result.line] = (str(result.job.status), _code(result.job))
            if result.job.status == "completed":
                await downloads.add(result.job)
            self._on_look(self.batch)
        while self._read_before < len(self._line_numbers) and self._line_numbers[self._read_before] in self._ends:
            self._read_before += 1

    @property
    def _knows_all(self) -> bool:
        return Counter(status for status, _ in self._ends.values()) == _ended(self.batch)


def _ended(batch: "Batch") -> Counter[str]:
    return Counter({status: count for status in ENDS if (count := getattr(batch.counts, status))})


def _code(job: "Job") -> str:
    return job.error.code if job.error is not None else ""
