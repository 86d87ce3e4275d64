"""A worker killed with thousands in flight: how soon after its restart each of its jobs moves again."""

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from bench.peers.sides import LIFTED
from bench.posting import post_batch
from bench.waiting import wait_for
from darkroom.jobs import JobStatus
from darkroom.store import keys

FULL_S, MOVED_S, TOLD_S = 120.0, 400.0, 600.0
LOOK_EVERY_S = 0.2
WATCHED = (JobStatus.GENERATING, JobStatus.STORING, JobStatus.SUBMITTING)


@dataclass(frozen=True, slots=True)
class Crash:
    """How many are in flight when the worker is killed, of how many jobs."""

    in_flight: int = 2_000
    jobs: int = 4_000
    inference_min_s: float = 20.0
    inference_max_s: float = 40.0
    image_bytes: int = 100_000
    poll_min_s: float = 2.0
    answer_s: float = 0.3
    """How long upstream takes to answer a submit, so that some are cut off."""
    settled_s: float = 180.0
    """Submit timeout and reconcile window: within these a cut submit has to be settled."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        return (
            f"kill -9 with {self.in_flight:,} in flight, inference "
            f"{self.inference_min_s:g}–{self.inference_max_s:g} s, restarted at once"
        )


@dataclass(frozen=True, slots=True)
class Stood:
    """One job as the kill left it. `due_at` is when its timer would have called for it (Unix seconds)."""

    status: str
    polls: int
    due_at: float


def run(crash: Crash) -> Outcome:
    """Fill the account, kill the worker amid looks, copies and submits, restart it, and wait for every job."""
    simulator = {
        "inference_min_s": crash.inference_min_s,
        "inference_max_s": crash.inference_max_s,
        "images_per_minute": LIFTED,
        "max_concurrency": crash.in_flight,
        "image_bytes": crash.image_bytes,
    }
    settings = {"WAVESPEED_IMAGES_PER_MINUTE": str(LIFTED), "WAVESPEED_MAX_CONCURRENCY": str(crash.in_flight)}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        running_fleet(Path(scratch), simulator=simulator, poll_min_s=crash.poll_min_s, settings=settings) as fleet,
    ):
        post_batch(fleet, crash.jobs)
        wait_for(lambda: _some_of_all(fleet, crash), FULL_S, what="jobs generating and storing at once")
        fleet.simulator.fault("delay_answer", seconds=crash.answer_s)
        wait_for(lambda: _some_of_all(fleet, crash, submits=True), FULL_S, what="a submit to cut", pause_s=0.002)
        fleet.worker.kill()
        stood = _stood(fleet)
        fleet.simulator.clear_faults()
        restarted_at = time.time()
        fleet.worker.start()
        moved_at = _await_moves(fleet, stood)
        wait_for(lambda: len(fleet.receiver.arrived_at) == crash.jobs, TOLD_S, what="the webhooks", pause_s=0.5)
        fleet.receiver.check(list(fleet.receiver.arrived_at))
        if (made := len(fleet.simulator.predictions())) != crash.jobs:
            raise BenchError(f"{crash.jobs} jobs made {made} predictions")
        figures = _figures(crash, stood, moved_at, restarted_at)
        raw = [
            asdict(one) | {"job_id": job_id, "moved_after_s": round(moved_at[job_id] - restarted_at, 3)}
            for job_id, one in stood.items()
        ]
        return Outcome("recovery", asdict(crash), figures, raw, fleet.complaints())


def _some_of_all(fleet: Fleet, crash: Crash, *, submits: bool = False) -> bool:
    """Say whether as many are in flight as there is room for, while outputs are being stored (and submits made)."""
    fleet.worker.must_run()
    counts = {status: int(fleet.redis.zcard(keys.index("bench", status))) for status in WATCHED}
    full = counts[JobStatus.GENERATING] + counts[JobStatus.SUBMITTING] >= 0.95 * crash.in_flight
    return full and counts[JobStatus.STORING] > 0 and (counts[JobStatus.SUBMITTING] > 0 or not submits)


def _stood(fleet: Fleet) -> dict[str, Stood]:
    """Read what the store holds of the jobs that were under way."""
    stood = {}
    for status in WATCHED:
        for job_id in map(str, fleet.redis.zrange(keys.index("bench", status), 0, -1)):
            due_ms = fleet.redis.zscore(keys.DUE, f"j:{job_id}:1")
            polls = int(fleet.attempt(job_id).get("polls", 0))
            stood[job_id] = Stood(status.value, polls, (float(str(due_ms)) if due_ms else 0.0) / 1000)
    return stood


def _await_moves(fleet: Fleet, stood: dict[str, Stood]) -> dict[str, float]:
    """Note when each has another status, or was looked at again."""
    moved_at: dict[str, float] = {}
    deadline = time.monotonic() + MOVED_S
    while len(moved_at) < len(stood):
        fleet.worker.must_run()
        if time.monotonic() > deadline:
            raise BenchError(f"{len(stood) - len(moved_at)} jobs stood still for {MOVED_S:g} s")
        waiting = [job_id for job_id in stood if job_id not in moved_at]
        pipe = fleet.redis.pipeline(transaction=False)
        for job_id in waiting:
            pipe.hget(keys.job(job_id), "status")
            pipe.hget(keys.attempt(job_id, 1), "polls")
        answers, now = pipe.execute(), time.time()
        for job_id, status, polls in zip(waiting, answers[::2], answers[1::2], strict=True):
            before = stood[job_id]
            if status != before.status or int(polls or 0) > before.polls:
                moved_at[job_id] = now
        time.sleep(LOOK_EVERY_S)
    return moved_at


def _figures(crash: Crash, stood: dict[str, Stood], moved_at: dict[str, float], restarted_at: float) -> list[Figure]:
    figures = []
    for status in WATCHED:
        mine = [(one, moved_at[job_id]) for job_id, one in stood.items() if one.status == status.value]
        case = f"{crash.name}: {status.value}"
        figures += [
            figure(case, "jobs", "", len(mine)),
            figure(case, "restart → moving again", "s", *(round(at - restarted_at, 2) for _, at in mine)),
            figure(
                case,
                "… beyond when its timer was due",
                "s",
                *(round(max(0.0, at - max(restarted_at, one.due_at)), 2) for one, at in mine),
            ),
        ]
    return figures
