"""A fleet whose processes can be caught at checkpoints, and the jobs that go through it meanwhile."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from darkroom.checkpoints import VARIABLE, Checkpoint
from darkroom.store import keys
from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import SimulatorControl
from tests.support.fleet import TERMINAL, Fleet, Process
from tests.support.waiting import wait_until

QUICK: dict[str, Any] = {"inference_min_s": 0.2, "inference_max_s": 0.6, "image_bytes": 400_000}
"""Of the simulator: images are large enough to be streamed."""

JOBS_A_ROUND = 3


@dataclass(frozen=True, slots=True)
class Caught:
    """A process that stands still at a point, and what it was at."""

    process: Process
    details: tuple[str, ...]

    def kill(self) -> None:
        """End it there."""
        self.process.kill()

    def resume(self) -> None:
        """Let it go on as if nothing had happened."""
        psutil.Process(self.process.popen.pid).resume()


@dataclass
class Rig:
    """Real processes on real servers, with timeouts as short as the settings allow."""

    valkey: EmbeddedValkey
    s3: EmbeddedS3
    bucket: str
    simulator: SimulatorControl
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    """Every job posted by itself, with its prompt, which no other job has."""
    batches: dict[str, dict[str, str]] = field(default_factory=dict)
    """Every batch posted, with its jobs and their prompts."""

    def __post_init__(self) -> None:
        """Prepare the fleet; messages have a database of their own, so that the store's can be judged whole."""
        settings = {
            VARIABLE: self.folder,
            "DARKROOM_BROKER_URL": self.valkey.url.rpartition("/")[0] + "/1",
            "DARKROOM_SUBMIT_TIMEOUT_SECONDS": 1,
            "DARKROOM_RECONCILE_WINDOW_SECONDS": 3,
            "DARKROOM_LANE_PROBE_SECONDS": 1,
        }
        self.fleet = Fleet(
            redis_url=self.valkey.url,
            s3=self.s3,
            bucket=self.bucket,
            upstream_url=self.simulator.url,
            **settings | self.settings,
        )
        self._workers = 0
        self._processes: list[Process] = []

    def worker(self) -> Process:
        """Start one more worker."""
        self._workers += 1
        self._newest = self.fleet.start_worker(f"w{self._workers}")
        self._processes.append(self._newest)
        return self._newest

    @property
    def newest_worker(self) -> Process:
        """The one that works; those before it were killed or stand still."""
        return self._newest

    def api(self) -> Process:
        """Start the ingress."""
        self._processes.append(self.fleet.start_api())
        return self._processes[-1]

    def prompt(self, label: str, marker: str = "") -> str:
        """Make a prompt that no other job has."""
        return f"{label} #{len(self.jobs)}. {marker}".strip()

    def post(self, label: str, count: int = JOBS_A_ROUND, marker: str = "") -> list[str]:
        """Post jobs of one to three images, each with a webhook."""
        posted = []
        for number in range(count):
            prompt = self.prompt(label, marker)
            job_id = self.fleet.submit(prompt, max_images=1 + number % 3, webhook={"url": self.fleet.receiver.url})
            self.jobs[job_id] = prompt
            posted.append(job_id)
        return posted

    @contextmanager
    def in_background(self, call: Callable[[], httpx.Response]) -> Iterator[Future[httpx.Response]]:
        """Call the ingress from a thread, because it may never answer."""
        with ThreadPoolExecutor(1) as thread:
            yield thread.submit(call)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop the newest worker meanwhile."""
        worker = psutil.Process(self.newest_worker.popen.pid)
        worker.suspend()
        try:
            yield
        finally:
            worker.resume()

    def arm(self, point: Checkpoint, wanted: Iterable[str] = ()) -> None:
        """Have the next process that comes by stopped, with what has all the words of one of the lines `wanted`."""
        self._file(point, "reached").unlink(missing_ok=True)
        draft = self._file(point, "draft")
        draft.write_text("\n".join(wanted))
        draft.rename(self._file(point, "armed"))

    def names_of(self, job_id: str) -> tuple[str, str]:
        """Give its id, and the word that no other prompt has, for where the id is not known."""
        return job_id, next(word for word in self.jobs[job_id].split() if word.startswith("#"))

    def caught(self, point: Checkpoint, timeout_s: float = 30) -> Caught:
        """Wait until a process stands still at the point."""
        reached = self._file(point, "reached")
        wait_until(reached.exists, timeout_s, what=f"somebody comes by {point}")
        found = json.loads(reached.read_text())
        process = next(process for process in self._processes if process.popen.pid == found["pid"])
        stopped = psutil.Process(found["pid"])
        wait_until(lambda: stopped.status() == psutil.STATUS_STOPPED, what=f"the process stands still at {point}")
        return Caught(process, tuple(found["details"]))

    def job(self, job_id: str) -> dict[str, str]:
        """Read a job's record."""
        record: dict[str, str] = self.fleet.redis.hgetall(keys.job(job_id))  # type: ignore[assignment]
        return record

    def attempt(self, job_id: str, number: int = 1) -> dict[str, str]:
        """Read the record of an attempt."""
        record: dict[str, str] = self.fleet.redis.hgetall(keys.attempt(job_id, number))  # type: ignore[assignment]
        return record

    def deliveries(self, job_id: str) -> list[dict[str, str]]:
        """Read the records of a job's deliveries."""
        return self.deliveries_of(keys.job(job_id))

    def deliveries_of(self, key: str) -> list[dict[str, str]]:
        """Read the records of the deliveries that a job's or batch's record names."""
        ids = [name for name in str(self.fleet.redis.hget(key, "deliveries") or "").split(",") if name]
        return [self.fleet.redis.hgetall(keys.delivery(name)) for name in ids]  # type: ignore[misc]

    @property
    def prompts(self) -> dict[str, str]:
        """The prompt of every job, those of batches included."""
        return self.jobs | {job_id: prompt for jobs in self.batches.values() for job_id, prompt in jobs.items()}

    def predictions(self, job_id: str) -> list[dict[str, Any]]:
        """Give what upstream created, and billed, for a job."""
        prompt = self.prompts[job_id]
        return [entry for entry in self.simulator.predictions() if entry["prompt"] == prompt]

    def ended(self, job_id: str) -> bool:
        """Say whether a job is over and everybody who wanted to know has been told."""
        told = self.deliveries(job_id)
        return (
            self.job(job_id)["status"] in TERMINAL and bool(told) and all(item["status"] != "pending" for item in told)
        )

    def batch_ended(self, batch_id: str) -> bool:
        """Say whether a batch is over and told of, and nothing of it is left to do."""
        due = [str(member) for member in self.fleet.redis.zrange(keys.DUE, 0, -1)]
        told = self.deliveries_of(keys.batch(batch_id))
        settled = bool(told) and all(item["status"] != "pending" for item in told)
        return settled and not any(batch_id in member for member in due)

    def wait_for_all(self, timeout_s: float) -> None:
        """Wait for the end of every job and batch."""
        waiting = {*self.jobs, *self.batches}

        def over() -> bool:
            ended = [one for one in waiting if (self.batch_ended(one) if one in self.batches else self.ended(one))]
            waiting.difference_update(ended)
            return not waiting

        wait_until(over, timeout_s, what=f"the end of {len(self.jobs)} jobs and {len(self.batches)} batches")

    def close(self) -> None:
        """End every process."""
        self.fleet.close()

    def _file(self, point: Checkpoint, what: str) -> Path:
        return self.folder / f"{point}.{what}"
