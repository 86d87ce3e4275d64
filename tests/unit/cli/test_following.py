"""Following a batch to its end: what is read, what is fetched, once each, and what is left when it ends early."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from darkroom.batches import Batch, BatchResult, BatchStatus
from darkroom.cli import following
from darkroom.cli.downloads import AT_ONCE, DirectoryTakenError, Downloads, only_here
from darkroom.cli.following import BatchFollower
from darkroom.client import AsyncClient, ConnectionFailed, DownloadFailed
from darkroom.jobs import Cost, Job, JobError, JobRequest, JobStatus
from tests.support.waiting import wait_until_async

NOW = datetime(2026, 11, 26, tzinfo=UTC)
COST = Cost(estimated=0.08, spent=0.08, images_requested=2, images_delivered=2)


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_S", 0.0)


def job(line: int, status: str) -> Job:
    error = JobError(code="content_moderation", message="no", retryable=False) if status == "failed" else None
    return Job(
        id=f"job_{line}",
        status=JobStatus(status),
        request=JobRequest(prompt="a"),
        cost=COST,
        error=error,
        created_at=NOW,
    )


class Service:
    """A batch that goes on by one step each time it is looked at; a step is the statuses of its lines."""

    def __init__(self, *steps: dict[int, str]) -> None:
        self.steps = list(steps)
        self.asked_after: list[int] = []
        self.fetched: list[str] = []
        self.problem: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0

    def now(self) -> Batch:
        statuses = list(self.steps[0].values())
        ended = all(JobStatus(status).terminal for status in statuses) and len(self.steps) == 1
        return Batch(
            id="batch_1",
            status=BatchStatus.COMPLETED if ended else BatchStatus.RUNNING,
            total=len(statuses),
            counts={status: statuses.count(status) for status in statuses},  # type: ignore[arg-type]
            cost=COST,
            created_at=NOW,
            finished_at=NOW if ended else None,
        )

    async def batch(self, batch_id: str) -> Batch:
        assert batch_id == "batch_1"
        if len(self.steps) > 1:
            del self.steps[0]
        return self.now()

    async def results(self, batch_id: str, *, after: int = 0) -> AsyncIterator[BatchResult]:
        self.asked_after.append(after)
        for line, status in self.steps[0].items():
            if line > after and JobStatus(status).terminal:
                yield BatchResult(line=line, job=job(line, status))

    async def jobs(self, *, batch_id: str, status: str) -> AsyncIterator[Job]:
        for line, found in self.steps[0].items():
            if found == status:
                yield job(line, found)

    async def download(self, wanted: Job, directory: Path) -> list[Path]:
        self.fetched.append(wanted.id)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.gate.wait()
            if self.problem is not None:
                raise self.problem
            path = directory / wanted.id / "00.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"png")
            return [path]
        finally:
            self.at_once -= 1


def client(service: Service) -> AsyncClient:
    return cast("AsyncClient", service)


async def follow(service: Service, directory: Path, **more: Any) -> tuple[BatchFollower, Downloads]:
    async with Downloads(client(service), directory) as downloads:
        follower = BatchFollower(client(service), service.now(), downloads=downloads, **more)
        async with asyncio.timeout(20):
            await follower.follow()
    return follower, downloads


async def test_images_are_fetched_while_it_runs_and_once_each(tmp_path: Path) -> None:
    service = Service(
        {1: "queued", 3: "generating", 4: "queued"},
        {1: "completed", 3: "generating", 4: "completed"},
        {1: "completed", 3: "generating", 4: "completed"},
        {1: "completed", 3: "failed", 4: "completed"},
    )
    follower, downloads = await follow(service, tmp_path, line_numbers=[1, 3, 4])
    assert sorted(service.fetched) == ["job_1", "job_4"]
    assert (downloads.images, downloads.size_bytes, downloads.failed) == (2, 6, {})
    assert follower.codes == {"content_moderation": 1}
    assert follower.batch.finished_at is not None


async def test_results_up_to_the_first_that_waits_are_read_once(tmp_path: Path) -> None:
    running = [{line: "completed" if line <= done else "queued" for line in range(2, 12)} for done in (0, 4, 4, 8, 8)]
    service = Service(*running, dict.fromkeys(range(2, 12), "completed"))
    await follow(service, tmp_path, line_numbers=list(range(2, 12)))
    assert service.asked_after == sorted(service.asked_after)
    assert service.asked_after[-1] >= 4
    assert len(service.fetched) == 10


async def test_without_line_numbers_everything_is_still_fetched_once(tmp_path: Path) -> None:
    service = Service({7: "queued", 9: "completed"}, {7: "completed", 9: "completed"})
    await follow(service, tmp_path)
    assert sorted(service.fetched) == ["job_7", "job_9"]


async def test_what_a_retry_completed_meanwhile_is_fetched_too(tmp_path: Path) -> None:
    service = Service({1: "failed", 2: "queued"}, {1: "failed", 2: "completed"}, {1: "completed", 2: "completed"})
    follower, _ = await follow(service, tmp_path, line_numbers=[1, 2])
    assert sorted(service.fetched) == ["job_1", "job_2"]
    assert not follower.codes


async def test_without_downloads_only_the_failed_are_read() -> None:
    service = Service({1: "queued", 2: "queued"}, {1: "completed", 2: "failed"})
    follower = BatchFollower(client(service), service.now())
    await follower.follow()
    assert (service.asked_after, follower.codes) == ([], {"content_moderation": 1})


async def test_what_can_not_be_fetched_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    service = Service(dict.fromkeys(range(1, 4), "completed"))
    service.problem = DownloadFailed("job_1: the bucket answers HTTP 404")
    _, downloads = await follow(service, tmp_path)
    assert set(downloads.failed) == {"job_1", "job_2", "job_3"}
    assert downloads.images == 0


async def test_a_full_disk_ends_it(tmp_path: Path) -> None:
    service = Service(dict.fromkeys(range(1, 200), "completed"))
    service.problem = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        await follow(service, tmp_path)
    assert len(service.fetched) < 199


async def test_a_service_that_stays_away_ends_it_and_what_is_under_way(tmp_path: Path) -> None:
    service = Service(dict.fromkeys(range(1, 4), "completed") | {4: "queued"}, {4: "queued"})

    async def away(_: str) -> Batch:
        raise ConnectionFailed("no answer", connected=False)

    service.gate.clear()
    service.batch = away  # type: ignore[method-assign]
    with pytest.raises(ConnectionFailed):
        await follow(service, tmp_path)
    assert service.at_once == 0


async def test_only_so_many_are_fetched_at_once(tmp_path: Path) -> None:
    service = Service(dict.fromkeys(range(1, 30), "completed"))
    service.gate.clear()
    following_it = asyncio.create_task(follow(service, tmp_path))
    await wait_until_async(lambda: service.at_once == AT_ONCE)
    service.gate.set()
    await following_it
    assert service.most_at_once == AT_ONCE
    assert len(service.fetched) == len(set(service.fetched)) == 29


async def test_ending_early_ends_what_is_under_way(tmp_path: Path) -> None:
    service = Service(dict.fromkeys(range(1, 30), "completed"))
    service.gate.clear()
    following_it = asyncio.create_task(follow(service, tmp_path))
    await wait_until_async(lambda: service.at_once == AT_ONCE)
    following_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following_it
    assert service.at_once == 0


async def test_what_a_killed_command_left_half_is_removed(tmp_path: Path) -> None:
    half = tmp_path / "job_1" / "00.png.0a1b2c3d.part"
    half.parent.mkdir()
    half.write_bytes(b"p")
    await follow(Service({1: "completed"}), tmp_path)
    assert [path.name for path in half.parent.iterdir()] == ["00.png"]


def test_one_command_at_a_time_fetches_into_a_directory(tmp_path: Path) -> None:
    directory = tmp_path / "shots" / "today"
    with only_here(directory), pytest.raises(DirectoryTakenError, match="another command"), only_here(directory):
        pass
    with only_here(directory), only_here(None):
        pass
