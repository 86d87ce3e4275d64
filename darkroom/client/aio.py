"""The client for asyncio: what `Client` does, awaited."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Self

import httpx

from darkroom.batches import Batch, BatchResult, BatchRetry
from darkroom.client import calls, steps
from darkroom.client.awaiting import Awaiting
from darkroom.client.calls import BatchOptions, JobFilter, WebhookLike
from darkroom.client.config import Config
from darkroom.client.downloads import download
from darkroom.client.feeds import EventFeed, ResultFeed, StatusChange
from darkroom.client.sync import id_of
from darkroom.client.uploads import Lines, body_of
from darkroom.jobs import Job, JobStatus, Priority


class AsyncClient:
    """Talks to one Darkroom with one key, from one event loop; close it, or use it as a context manager.

    Repeats and raises as `Client` does. `events`, `jobs`, `batches` and `results` are for `async for`; who leaves one
    early closes its connection at once by `contextlib.aclosing`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Open nothing yet; arguments as those of `Client`."""
        self._io = Awaiting(Config.of(url, api_key, timeout_s, retries), transport)
        self._retries = retries

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self._io.config.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._io.close()

    async def submit(
        self,
        prompt: str,
        *,
        size: str | None = None,
        max_images: int | None = None,
        enable_base64_output: bool | None = None,
        enable_sync_mode: bool | None = None,
        webhook: WebhookLike | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        expires_in: int | None = None,
        custom_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Post a job, as `Client.submit`."""
        call = calls.submit_job(
            webhook,
            idempotency_key,
            prompt=prompt,
            size=size,
            max_images=max_images,
            enable_base64_output=enable_base64_output,
            enable_sync_mode=enable_sync_mode,
            metadata=metadata,
            priority=priority,
            expires_in=expires_in,
            custom_id=custom_id,
        )
        return await self._io.call(call)

    async def job(self, job_id: str, *, wait_s: float = 0) -> Job:
        """Read a job, as soon as it is terminal or `wait_s` (0–60) are over."""
        return await self._io.call(calls.read_one_job(job_id, wait_s))

    def jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        batch_id: str | None = None,
        custom_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Job]:
        """List jobs, newest first, page after page as they are needed; `limit` in all (None: every one)."""
        wanted = JobFilter(status, batch_id, custom_id, metadata or {}, created_after, created_before)
        return self._io.pages(lambda cursor, most: calls.list_jobs(wanted, cursor, most), limit)

    async def wait(self, job: str | Job, *, timeout_s: float | None = None) -> Job:
        """Wait until a job is terminal, for ever unless `timeout_s` says otherwise; raises `WaitTimeout`."""
        return await self._io.run(steps.wait_for_job(id_of(job), timeout_s, self._retries))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; `Conflict` (`already_finished`) where it has ended otherwise."""
        return await self._io.run(steps.cancel_job(job_id, self._retries))

    async def retry(self, job_id: str, *, fresh: bool = False) -> Job:
        """Let a failed, canceled or expired job go on, as `Client.retry`."""
        return await self._io.call(calls.retry_job(job_id, fresh=fresh))

    def events(self, job_id: str, *, last_event_id: str | None = None) -> AsyncIterator[StatusChange]:
        """Follow a job's status changes, each once, from the first (or after `last_event_id`) to its end."""
        return self._io.follow(EventFeed(job_id, last_event_id, self._retries))

    async def download(self, job: str | Job, directory: str | PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Fetch a job's outputs, as `Client.download`; files are written in the event loop, chunk by chunk."""
        return await self._io.run(download(job, Path(directory), overwrite=overwrite, retries=self._retries))

    async def submit_batch(
        self,
        lines: Lines,
        *,
        webhook: WebhookLike | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: Priority | None = None,
        expires_in: int | None = None,
        on_invalid: str = "refuse",
        idempotency_key: str | None = None,
    ) -> Batch:
        """Post a batch, as `Client.submit_batch`; `lines` is an ordinary iterable or a path, read in the event loop."""
        options = BatchOptions(webhook, metadata or {}, priority, expires_in, on_invalid)
        return await self._io.call(calls.submit_batch(body_of(lines), options, idempotency_key))

    async def batch(self, batch_id: str) -> Batch:
        """Read a batch."""
        return await self._io.call(calls.read_one_batch(batch_id))

    def batches(self, limit: int | None = None) -> AsyncIterator[Batch]:
        """List batches, newest first; `limit` in all (None: every one)."""
        return self._io.pages(calls.list_batches, limit)

    async def wait_batch(
        self,
        batch_id: str,
        *,
        timeout_s: float | None = None,
        progress: Callable[[Batch], None] | None = None,
    ) -> Batch:
        """Wait until a batch has finished; `progress` gets it at each look. Raises `WaitTimeout`."""
        return await self._io.run(steps.wait_for_batch(batch_id, timeout_s, progress, self._retries))

    def results(self, batch_id: str, *, after: int = 0) -> AsyncIterator[BatchResult]:
        """Read the batch's finished jobs in the order of its lines, those after line `after`; at any time."""
        return self._io.follow(ResultFeed(batch_id, after, self._retries))

    async def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel a batch: its waiting jobs end, what has been sent upstream goes on."""
        return await self._io.run(steps.cancel_batch(batch_id, self._retries))

    async def retry_batch(self, batch_id: str, *, include: Iterable[str] = ()) -> BatchRetry:
        """Let its failed jobs go on, those that are not retryable only where `include` has their error's code."""
        return await self._io.call(calls.retry_batch(batch_id, include))

    async def usage(self) -> dict[str, Any]:
        """Read jobs, images and USD of the last 30 days, as the API answers."""
        return await self._io.call(calls.usage())

    async def status(self) -> dict[str, Any]:
        """Read the line, the lanes and the workers, as the API answers."""
        return await self._io.call(calls.status())
