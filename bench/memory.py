"""What a worker needs to copy big outputs: memory, time and CPU while two of the largest jobs are stored at once."""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import httpx
import orjson

from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from bench.waiting import wait_for

SAMPLE_EVERY_S = 0.05
FINISH_TIMEOUT_S = 300.0
MB = 1_000_000
SMALL_IMAGE_BYTES = 20_000


@dataclass(frozen=True, slots=True)
class Load:
    """Jobs that complete together, and what they yield."""

    jobs: int = 3
    images: int = 15
    image_bytes: int = 16 * MB
    poll_min_s: float = 2.0
    base64: bool = False

    @property
    def name(self) -> str:
        """What the table calls it."""
        kind = " of 4096², as base64" if self.base64 else ""
        return f"{self.jobs} jobs × {self.images} outputs × {self.image_bytes / MB:g} MB{kind}"

    @property
    def fields(self) -> dict[str, Any]:
        """What is asked for beside the number of images."""
        return {"size": "4096*4096", "enable_base64_output": True} if self.base64 else {}


LOADS = (Load(), Load(jobs=4, base64=True))


@dataclass(frozen=True, slots=True)
class Sample:
    """A worker at one moment (Unix seconds)."""

    at: float
    rss_bytes: int
    cpu_s: float


class Watched(Protocol):
    """What can be sampled: a process, or several as one."""

    def rss_bytes(self) -> int:
        """Resident memory now."""

    def cpu_s(self) -> float:
        """CPU seconds used so far."""


class Sampler:
    """Looks at a process now and then from a thread while the block runs."""

    def __init__(self, process: Watched, *, every_s: float = SAMPLE_EVERY_S) -> None:
        self._every_s = every_s
        self.samples: list[Sample] = []
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> "Sampler":
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if error is None:
            self.sample()

    def sample(self) -> None:
        """Take one now."""
        self.samples.append(Sample(time.time(), self._process.rss_bytes(), self._process.cpu_s()))

    def _run(self) -> None:
        while not self._done.wait(self._every_s):
            self.sample()


def run(loads: Sequence[Load]) -> Outcome:
    """Store each load on a fresh fleet that has stored one small job before."""
    figures: list[Figure] = []
    raw: list[dict[str, Any]] = []
    complaints = Counter[str]()
    for load in loads:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            samples, attempts = _watch(load, Path(scratch), complaints)
        figures += _figures(load, samples, attempts)
        raw += [{"case": load.name} | asdict(sample) for sample in samples]
    return Outcome("memory", {"loads": [asdict(load) for load in loads]}, figures, raw, complaints)


def _watch(load: Load, scratch: Path, complaints: Counter[str]) -> tuple[list[Sample], list[dict[str, str]]]:
    simulator = {"inference_min_s": 0.5, "inference_max_s": 0.5, "image_bytes": SMALL_IMAGE_BYTES}
    with running_fleet(scratch, simulator=simulator, poll_min_s=load.poll_min_s) as fleet:
        _store(fleet, jobs=1, images=1)
        fleet.simulator.settings(image_bytes=load.image_bytes)
        with Sampler(fleet.worker) as sampler:
            job_ids = _store(fleet, jobs=load.jobs, images=load.images, **load.fields)
        complaints.update(fleet.complaints())
        attempts = [fleet.attempt(job_id) for job_id in job_ids]
    _check_size(load, attempts)
    return sampler.samples, attempts


def _store(fleet: Fleet, *, jobs: int, images: int, **fields: Any) -> list[str]:
    with httpx.Client(base_url=fleet.api_url, headers=fleet.headers, timeout=30) as client:
        answers = [client.post("/v1/jobs", json=fleet.body(n, max_images=images, **fields)) for n in range(jobs)]
    job_ids = [str(answer.raise_for_status().json()["id"]) for answer in answers]
    wait_for(
        lambda: fleet.receiver.arrived_at.keys() >= set(job_ids), FINISH_TIMEOUT_S, what="the webhooks", pause_s=0.05
    )
    fleet.receiver.check(job_ids)
    return job_ids


def _check_size(load: Load, attempts: list[dict[str, str]]) -> None:
    outputs = [orjson.loads(text) for one in attempts for name, text in one.items() if name.startswith("out:")]
    small = [output for output in outputs if output["bytes"] < load.image_bytes]
    if len(outputs) != load.jobs * load.images or small:
        raise BenchError(f"{len(outputs)} outputs stored of {load.jobs * load.images}, {len(small)} of them too small")


def _figures(load: Load, samples: list[Sample], attempts: list[dict[str, str]]) -> list[Figure]:
    starts = [int(attempt["storing_ms"]) / 1000 for attempt in attempts]
    ends = [int(attempt["stored_ms"]) / 1000 for attempt in attempts]
    seconds = max(ends) - min(starts)
    together_s = max(0.0, min(ends) - max(starts))
    megabytes = load.jobs * load.images * load.image_bytes / MB
    during = [sample for sample in samples if min(starts) - SAMPLE_EVERY_S <= sample.at <= max(ends) + SAMPLE_EVERY_S]
    baseline, peak = samples[0].rss_bytes / MB, max(sample.rss_bytes for sample in samples) / MB

    def one(what: str, unit: str, value: float) -> Figure:
        return figure(load.name, what, unit, round(value, 2))

    def cpu(chosen: list[Sample]) -> float:
        return chosen[-1].cpu_s - chosen[0].cpu_s if len(chosen) > 1 else samples[-1].cpu_s - samples[0].cpu_s

    return [
        one("RSS of the worker before", "MB", baseline),
        one("RSS of the worker at its peak", "MB", peak),
        one("added at the peak", "MB", peak - baseline),
        one("copied", "MB", megabytes),
        one("time", "s", seconds),
        one("… in which all jobs were being copied", "s", together_s),
        one("throughput", "MB/s", megabytes / seconds),
        one("CPU of the worker meanwhile", "s", cpu(during)),
        one("copied a CPU-second of the worker", "MB", megabytes / max(cpu(during), 0.01)),
    ]
