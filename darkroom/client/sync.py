"""The blocking client."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Self

import httpx

from darkroom.batches import Batch, BatchResult, BatchRetry
from darkroom.client import calls, steps
from darkroom.client.blocking import Blocking
from darkroom.client.calls import BatchOptions, JobFilter, WebhookLike
from darkroom.client.config import Config
from darkroom.client.downloads import download
from darkroom.client.feeds import EventFeed, ResultFeed, StatusChange
from darkroom.client.uploads import Lines, body_of
from darkroom.jobs import Job, JobStatus, Priority


class Client:
    """Talks to one Darkroom with one key. Threads may share it; close it, or use it as a context manager.

    Calls that can't do a thing twice are repeated after connection errors, 429, 502, 503 and 504, as `Retry-After`
    says; a `Retry-After` of more than a minute is raised instead. Every method raises `ApiError` (by kind: `NotFound`,
    `Conflict`, `Invalid`, …), `ConnectionFailed` or `UnreadableAnswer`; what else one raises is said there.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            url: where the API is; default `DARKROOM_URL`, else http://127.0.0.1:8000.
            api_key: default `DARKROOM_API_KEY`; without any, none is sent.
            timeout_s: for the connection and for each read and write of a call; waits have their own.
            retries: repeats of one call at most.
            transport: another way to send, as in tests.

        Raises:
            ConfigurationError: an address or a key that can't be one.
        """
        self._io = Blocking(Config.of(url, api_key, timeout_s, retries), transport)
        self._retries = retries

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self._io.config.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._io.close()

    def submit(
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
        """Post a job; once this returns, it reaches a terminal status whatever dies in between.

        The fields are the API's, `expires_in` in seconds; None leaves one to the service. `webhook` may be just a URL.
        Without `idempotency_key` a random one is used, so that a repeat of the call never makes a second job; give your
        own to be safe across a restart of your process as well.
        """
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
        return self._io.call(call)

    def job(self, job_id: str, *, wait_s: float = 0) -> Job:
        """Read a job, as soon as it is terminal or `wait_s` (0–60) are over."""
        return self._io.call(calls.read_one_job(job_id, wait_s))

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
    ) -> Iterator[Job]:
        """List jobs, newest first, page after page as they are needed; `limit` in all (None: every one)."""
        wanted = JobFilter(status, batch_id, custom_id, metadata or {}, created_after, created_before)
        return self._io.pages(lambda cursor, most: calls.list_jobs(wanted, cursor, most), limit)

    def wait(self, job: str | Job, *, timeout_s: float | None = None) -> Job:
        """Wait until a job is terminal, for ever unless `timeout_s` says otherwise; raises `WaitTimeout`."""
        return self._io.run(steps.wait_for_job(id_of(job), timeout_s, self._retries))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; `Conflict` (`already_finished`) where it has ended otherwise."""
        return self._io.run(steps.cancel_job(job_id, self._retries))

    def retry(self, job_id: str, *, fresh: bool = False) -> Job:
        """Let a failed, canceled or expired job go on; `fresh` makes a new attempt, which costs again.

        After `ConnectionFailed` with `connected`, read the job to see whether it goes on.
        """
        return self._io.call(calls.retry_job(job_id, fresh=fresh))

    def events(self, job_id: str, *, last_event_id: str | None = None) -> Iterator[StatusChange]:
        """Follow a job's status changes, each once, from the first (or after `last_event_id`) to its end."""
        return self._io.follow(EventFeed(job_id, last_event_id, self._retries))

    def download(self, job: str | Job, directory: str | PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Fetch a job's outputs to `<directory>/<job_id>/<index:02d>.<ext>`, checked against the job's sha256.

        A file that is there with the right size is left alone, unless `overwrite`. Files appear whole or not at all.

        Raises:
            NotFinished: the job has not ended.
            DownloadFailed: an output can't be fetched whole.
        """
        return self._io.run(download(job, Path(directory), overwrite=overwrite, retries=self._retries))

    def submit_batch(
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
        """Post up to 50,000 jobs, written while they are sent.

        `lines` is the path of a file of JSON lines, or yields jobs (`JobRequest`, mapping, or JSON as text). The upload
        is repeated after a broken connection where `lines` can be iterated again (a list, a file; not a generator).
        `Invalid` names every wrong line in `errors`; `on_invalid="skip"` takes the others and says so in `skipped`.
        """
        options = BatchOptions(webhook, metadata or {}, priority, expires_in, on_invalid)
        return self._io.call(calls.submit_batch(body_of(lines), options, idempotency_key))

    def batch(self, batch_id: str) -> Batch:
        """Read a batch."""
        return self._io.call(calls.read_one_batch(batch_id))

    def batches(self, limit: int | None = None) -> Iterator[Batch]:
        """List batches, newest first; `limit` in all (None: every one)."""
        return self._io.pages(calls.list_batches, limit)

    def wait_batch(
        self,
        batch_id: str,
        *,
        timeout_s: float | None = None,
        progress: Callable[[Batch], None] | None = None,
    ) -> Batch:
        """Wait until a batch has finished; `progress` gets it at each look. Raises `WaitTimeout`."""
        return self._io.run(steps.wait_for_batch(batch_id, timeout_s, progress, self._retries))

    def results(self, batch_id: str, *, after: int = 0) -> Iterator[BatchResult]:
        """Read the batch's finished jobs in the order of its lines, those after line `after`; at any time."""
        return self._io.follow(ResultFeed(batch_id, after, self._retries))

    def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel a batch: its waiting jobs end, what has been sent upstream goes on."""
        return self._io.run(steps.cancel_batch(batch_id, self._retries))

    def retry_batch(self, batch_id: str, *, include: Iterable[str] = ()) -> BatchRetry:
        """Let its failed jobs go on, those that are not retryable only where `include` has their error's code."""
        return self._io.call(calls.retry_batch(batch_id, include))

    def usage(self) -> dict[str, Any]:
        """Read jobs, images and USD of the last 30 days, as the API answers."""
        return self._io.call(calls.usage())

    def status(self) -> dict[str, Any]:
        """Read the line, the lanes and the workers, as the API answers."""
        return self._io.call(calls.status())


def id_of(job: str | Job) -> str:
    """Give a job's id."""
    return job.id if isinstance(job, Job) else job
