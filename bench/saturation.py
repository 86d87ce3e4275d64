"""Whether one worker process saturates the largest account tier, and what that costs: rate, memory, CPU, delay.

A backlog of single-image jobs is posted as one batch; every job has a webhook of its own. The steady part begins when
generations end as fast as they are sent, and lasts as long as the load says.
"""

import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import redis

from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from bench.memory import MB, Sampler
from bench.posting import post_batch
from bench.processes import used_cpu_s
from bench.waiting import wait_for
from darkroom.store import keys

FINISH_TIMEOUT_S = 900.0
SAMPLE_EVERY_S = 1.0
READ_AT_ONCE = 500
FROM_OUTSIDE = ("evalsha", "eval", "lpush", "brpop", "publish")
MOMENTS = ("received_at", "completed_at", "handed_over_at", "stored_at", "webhook_at")


@dataclass(frozen=True, slots=True)
class Load:
    """The account and what is asked of it; `ramp_s` is left out before the steady part of `steady_s`."""

    jobs: int = 28_000
    images_per_minute: int = 5_000
    max_concurrency: int = 5_000
    inference_min_s: float = 30.0
    inference_max_s: float = 60.0
    image_bytes: int = 100_000
    ramp_s: float = 75.0
    steady_s: float = 180.0
    poll_min_s: float = 2.0

    @property
    def name(self) -> str:
        """What the table calls it."""
        return (
            f"{self.images_per_minute:,} images/min, {self.max_concurrency:,} at once, "
            f"inference {self.inference_min_s:g}–{self.inference_max_s:g} s, {self.jobs:,} jobs"
        )

    @property
    def rate(self) -> float:
        """Jobs a second that the account takes."""
        return self.images_per_minute / 60


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen. CPU seconds and bytes are by process, `jobs` hold Unix seconds."""

    jobs: list[dict[str, float]]
    stats: dict[str, Any]
    cpu_s: dict[str, float]
    samples: list[dict[str, float]]
    calls: int
    complaints: dict[str, int]


def run(load: Load) -> Outcome:
    """Post the backlog to a fresh fleet with one worker and wait for the last webhook."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        seen = _watch(load, Path(scratch))
    return Outcome("saturation", asdict(load), _figures(load, seen), _by_second(seen), seen.complaints)


def _watch(load: Load, scratch: Path) -> Run:
    simulator = {
        "inference_min_s": load.inference_min_s,
        "inference_max_s": load.inference_max_s,
        "images_per_minute": load.images_per_minute,
        "max_concurrency": load.max_concurrency,
        "image_bytes": load.image_bytes,
    }
    settings = {
        "WAVESPEED_IMAGES_PER_MINUTE": str(load.images_per_minute),
        "WAVESPEED_MAX_CONCURRENCY": str(load.max_concurrency),
    }
    with running_fleet(scratch, simulator=simulator, poll_min_s=load.poll_min_s, settings=settings) as fleet:
        before, calls = _cpu_s(fleet), calls_of(fleet.redis)
        with Sampler(fleet.worker, every_s=SAMPLE_EVERY_S) as sampler:
            post_batch(fleet, load.jobs)
            wait_for(lambda: _all_told(fleet, load.jobs), FINISH_TIMEOUT_S, what="the webhooks", pause_s=0.5)
        used = {name: cpu_s - before[name] for name, cpu_s in _cpu_s(fleet).items()}
        fleet.receiver.check(list(fleet.receiver.arrived_at))
        samples = [asdict(sample) for sample in sampler.samples]
        return Run(
            _jobs(fleet, load.jobs),
            fleet.simulator.stats(),
            used,
            samples,
            calls_of(fleet.redis) - calls,
            fleet.complaints(),
        )


def _by_second(seen: Run) -> list[dict[str, Any]]:
    """Count what happened in each second after the first submit, beside the worker's memory and CPU time then."""
    start = min(job["received_at"] for job in seen.jobs)
    counts = {moment: Counter(int(job[moment] - start) for job in seen.jobs) for moment in MOMENTS}
    sampled = {int(sample["at"] - start): sample for sample in seen.samples}
    last = max(max(counted) for counted in counts.values())
    rows = []
    for second in range(last + 1):
        row: dict[str, Any] = {
            "second": second,
            **{moment.removesuffix("_at"): counts[moment][second] for moment in MOMENTS},
        }
        if sample := sampled.get(second):
            row |= {"rss_bytes": sample["rss_bytes"], "cpu_s": round(sample["cpu_s"], 2)}
        rows.append(row)
    return rows


def _all_told(fleet: Fleet, jobs: int) -> bool:
    fleet.worker.must_run()
    fleet.api.must_run()
    return len(fleet.receiver.arrived_at) >= jobs


def _cpu_s(fleet: Fleet) -> dict[str, float]:
    valkey = psutil.Process(int(fleet.redis.info("server")["process_id"]))
    return {"worker": fleet.worker.cpu_s(), "api": fleet.api.cpu_s(), "Valkey": used_cpu_s(valkey)}


def calls_of(client: "redis.Redis") -> int:
    """Count scripts run, messages put and messages taken: everything that the service asks of Valkey over and over.

    What scripts call themselves is counted neither here nor as a round trip. Calls that travel together count each.
    """
    stats = client.info("commandstats")
    return sum(int(stats[f"cmdstat_{name}"]["calls"]) for name in FROM_OUTSIDE if f"cmdstat_{name}" in stats)


def _jobs(fleet: Fleet, jobs: int) -> list[dict[str, float]]:
    """Put together what upstream, the store and the receiver noted of each job."""
    ledger = {entry["id"]: entry for entry in fleet.simulator.predictions()}
    if len(ledger) != jobs:
        raise BenchError(f"{jobs} jobs made {len(ledger)} predictions")
    ids, found = list(fleet.receiver.arrived_at), []
    for first in range(0, len(ids), READ_AT_ONCE):
        some = ids[first : first + READ_AT_ONCE]
        pipe = fleet.redis.pipeline(transaction=False)
        for job_id in some:
            pipe.hmget(keys.attempt(job_id, 1), "prediction_id", "storing_ms", "stored_ms")
        for job_id, (prediction_id, storing_ms, stored_ms) in zip(some, pipe.execute(), strict=True):
            entry = ledger[prediction_id]
            found.append(
                {
                    "received_at": entry["received_at"],
                    "completed_at": entry["completed_at"],
                    "handed_over_at": int(storing_ms) / 1000,
                    "stored_at": int(stored_ms) / 1000,
                    "webhook_at": fleet.receiver.arrived_at[job_id],
                    "looks": entry["looks"],
                }
            )
    return found


def _figures(load: Load, seen: Run) -> list[Figure]:
    start = min(job["received_at"] for job in seen.jobs) + load.ramp_s
    end = start + load.steady_s
    if end > max(job["received_at"] for job in seen.jobs):
        raise BenchError("the line ran empty within the steady part")

    def one(what: str, unit: str, value: float) -> Figure:
        return figure(load.name, what, unit, round(value, 3))

    def share(moment: str) -> float:
        return 100 * sum(start <= job[moment] < end for job in seen.jobs) / load.steady_s / load.rate

    steady = _steady(seen.jobs, start, end)

    def between(what: str, first: str, last: str) -> Figure:
        return figure(load.name, what, "ms", *(round((job[last] - job[first]) * 1000, 1) for job in steady))

    resident = [sample["rss_bytes"] / MB for sample in seen.samples]
    in_flight = seen.stats["max_in_flight"]
    thousands = load.jobs / 1000
    return [
        one(f"submits, of {load.rate:.1f} a second for {load.steady_s:g} s", "%", share("received_at")),
        one("… completed and told of", "%", share("webhook_at")),
        one("most images in any 60 s", f"of {load.images_per_minute}", seen.stats["max_images_in_60s"]),
        one("refused with 429", "", seen.stats["rate_limited"]),
        one("most in flight", f"of {load.max_concurrency}", in_flight),
        one("RSS of the worker before", "MB", resident[0]),
        one("RSS of the worker at its peak", "MB", max(resident)),
        one("… added a generation in flight", "kB", (max(resident) - resident[0]) * 1000 / in_flight),
        *(one(f"CPU of the {name} a thousand jobs", "s", used / thousands) for name, used in seen.cpu_s.items()),
        one("CPU of worker and api a thousand jobs", "s", (seen.cpu_s["worker"] + seen.cpu_s["api"]) / thousands),
        one("calls of Valkey a job, those of looks included", "", seen.calls / load.jobs),
        figure(load.name, "looks a job", "", *(job["looks"] for job in steady)),
        one("… mean", "", fmean([job["looks"] for job in steady])),
        between("upstream completed → seen by a look", "completed_at", "handed_over_at"),
        one("… mean", "ms", 1000 * fmean([job["handed_over_at"] - job["completed_at"] for job in steady])),
        between("seen → images and job.json in the bucket", "handed_over_at", "stored_at"),
        between("seen → webhook received", "handed_over_at", "webhook_at"),
        between("upstream completed → webhook received", "completed_at", "webhook_at"),
    ]


def _steady(jobs: list[dict[str, float]], start: float, end: float) -> list[dict[str, float]]:
    return [job for job in jobs if start <= job["completed_at"] < end]
