"""Whether the account's limits hold across three worker processes, and how much of the binding one a backlog uses."""

import random
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from bench.line import enqueue_arguments, fill
from bench.processes import ServiceProcess
from bench.waiting import wait_for
from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys

WORKERS = 3
MOST_IMAGES = 4
SAMPLE_EVERY_S = 0.25
START_TIMEOUT_S = 60.0
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """A backlog of mixed jobs on an account; `answer_s` is how late upstream answers a submit."""

    name: str
    inference_min_s: float
    inference_max_s: float
    answer_s: float = 0.0
    images_per_minute: int = 120
    max_concurrency: int = 6
    seconds: float = 180.0
    warm_up_s: float = 20.0
    poll_min_s: float = 2.0

    @property
    def jobs(self) -> int:
        """More than can go in the time."""
        return int(self.images_per_minute * self.seconds / 60) + 100


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen of a case. Times are Unix seconds; `slots` were sampled in Redis, all else is upstream's word."""

    started_at: float
    ended_at: float
    predictions: list[dict[str, Any]]
    stats: dict[str, Any]
    slots: list[tuple[float, int]]
    waiting: int
    complaints: dict[str, int]


RATE_BINDS = Case("the rate binds", 1.5, 2.5)
LATE_ANSWERS = Case("the rate binds, submits answered after 2.5 s", 1.5, 2.5, answer_s=2.5)
CONCURRENCY_BINDS = Case("the concurrency binds", 15.0, 25.0)


def run(name: str, case: Case) -> Outcome:
    """Let three workers go through a backlog for a while and judge what upstream saw."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        seen = _watch(case, Path(scratch))
    raw = [
        {key: prediction[key] for key in ("id", "received_at", "completed_at", "max_images")}
        for prediction in seen.predictions
    ]
    parameters = asdict(case) | {"workers": WORKERS, "jobs": case.jobs}
    return Outcome(name, parameters, _figures(case, seen), raw, seen.complaints)


def _watch(case: Case, scratch: Path) -> Run:
    simulator = {
        "inference_min_s": case.inference_min_s,
        "inference_max_s": case.inference_max_s,
        "images_per_minute": case.images_per_minute,
        "max_concurrency": case.max_concurrency,
        "image_bytes": 20_000,
    }
    settings = {
        "WAVESPEED_IMAGES_PER_MINUTE": str(case.images_per_minute),
        "WAVESPEED_MAX_CONCURRENCY": str(case.max_concurrency),
    }
    with running_fleet(
        scratch, simulator=simulator, poll_min_s=case.poll_min_s, workers=WORKERS, settings=settings
    ) as fleet:
        if case.answer_s:
            fleet.simulator.fault("delay_answer", seconds=case.answer_s)
        rng = random.Random(1)
        fill(fleet.redis_url, (enqueue_arguments("bench", rng.randint(1, MOST_IMAGES)) for _ in range(case.jobs)))
        wait_for(lambda: len(fleet.simulator.predictions()) > 0, START_TIMEOUT_S, what="the first submit")
        started_at = time.time()
        slots = _sample(fleet, until=started_at + case.seconds)
        ended_at = time.time()
        predictions, stats = fleet.simulator.predictions(), fleet.simulator.stats()
        waiting = int(str(fleet.redis.hget(keys.DEPTH, "*|jobs") or 0))
        return Run(started_at, ended_at, predictions, stats, slots, waiting, fleet.complaints())


def _sample(fleet: Fleet, *, until: float) -> list[tuple[float, int]]:
    found = []
    while time.time() < until:
        found.append((time.time(), int(fleet.redis.zcard(keys.slots(DEFAULT_LANE)))))
        _must_run(fleet.workers)
        time.sleep(SAMPLE_EVERY_S)
    return found


def _must_run(workers: tuple[ServiceProcess, ...]) -> None:
    for worker in workers:
        worker.must_run()


def _figures(case: Case, seen: Run) -> list[Figure]:
    """Judge the steady part: after the warm-up, as long as jobs wait; a run without a backlog proves nothing."""
    if not seen.waiting:
        raise BenchError(f"{case.name}: the line ran empty")
    start, end = seen.started_at + case.warm_up_s, seen.ended_at - SETTLE_S
    sent = [entry for entry in seen.predictions if start <= entry["received_at"] < end]
    images = sum(entry["max_images"] for entry in sent)
    seconds = end - start
    busy = sum(_overlap(entry, start, end) for entry in seen.predictions) / seconds / case.max_concurrency
    held = [slots for at, slots in seen.slots if start <= at < end]

    def one(what: str, unit: str, value: float) -> Figure:
        return figure(case.name, what, unit, round(value, 2))

    return [
        one("most images in any 60 s", f"of {case.images_per_minute}", seen.stats["max_images_in_60s"]),
        one("most in flight", f"of {case.max_concurrency}", seen.stats["max_in_flight"]),
        one("refused with 429", "", seen.stats["rate_limited"]),
        one("share of the rate used", "%", 100 * images / (case.images_per_minute * seconds / 60)),
        one("share of the concurrency used, as upstream sees it", "%", 100 * busy),
        one("share of the concurrency held", "%", 100 * sum(held) / len(held) / case.max_concurrency),
        one("predictions", "", len(seen.predictions)),
    ]


def _overlap(entry: dict[str, Any], start: float, end: float) -> float:
    return max(0.0, min(float(entry["completed_at"] or end), end) - max(float(entry["received_at"]), start))
