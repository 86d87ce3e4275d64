"""What Darkroom adds to a job's time: from POST to upstream's door, and from upstream's completion to the webhook."""

import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from bench.load import Posted, post_steadily
from bench.waiting import wait_for

FINISH_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Case:
    """One load on a fresh fleet. Inference in seconds, images a job: one."""

    jobs: int
    rate: float
    inference_min_s: float
    inference_max_s: float
    image_bytes: int = 100_000
    poll_min_s: float = 2.0

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.rate:g} jobs/s, inference {self.inference_min_s:g}–{self.inference_max_s:g} s"


DETECTION = [Case(1_200, 20.0, 25.0, 35.0)]
"""How often and how late a generation of half a minute is looked at."""

WEBHOOK_DELAY = [Case(6_000, 50.0, 5.0, 10.0)]
"""What comes after the look, at fifty jobs a second."""


def run(cases: list[Case], *, name: str = "latency") -> Outcome:
    """Run each case on a fleet of its own."""
    figures: list[Figure] = []
    raw: list[dict[str, Any]] = []
    complaints: Counter[str] = Counter()
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            rows, cpu = run_case(case, Path(scratch), complaints)
        figures += _figures(case, rows, cpu)
        raw += [{"case": case.name, **row} for row in rows]
    return Outcome(name, {"cases": [asdict(case) for case in cases]}, figures, raw, complaints)


def run_case(
    case: Case, scratch: Path, complaints: Counter[str], *, callbacks: bool = False
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Run a case on a fresh fleet; gives what became of each job when, and CPU seconds by process."""
    simulator = {
        "inference_min_s": case.inference_min_s,
        "inference_max_s": case.inference_max_s,
        "image_bytes": case.image_bytes,
    }
    with running_fleet(scratch, simulator=simulator, poll_min_s=case.poll_min_s, callbacks=callbacks) as fleet:
        before = {process.name: process.cpu_s() for process in (fleet.worker, fleet.api)}
        posted = post_steadily(fleet, jobs=case.jobs, rate=case.rate)
        wait_for(
            lambda: len(fleet.receiver.arrived_at) >= case.jobs,
            FINISH_TIMEOUT_S,
            what=f"webhooks of {case.jobs} jobs",
            pause_s=0.1,
        )
        fleet.receiver.check([job.job_id for job in posted])
        used = {process.name: process.cpu_s() - before[process.name] for process in (fleet.worker, fleet.api)}
        complaints.update(fleet.complaints())
        return job_rows(fleet, posted), used


def job_rows(fleet: Fleet, posted: list[Posted]) -> list[dict[str, Any]]:
    """Put together what each process noted about each job; Unix seconds throughout."""
    ledger = {entry["id"]: entry for entry in fleet.simulator.predictions()}
    if len(ledger) != len(posted):
        raise BenchError(f"{len(posted)} jobs made {len(ledger)} predictions")
    rows = []
    for job in posted:
        attempt = fleet.attempt(job.job_id)
        entry = ledger[attempt["prediction_id"]]
        rows.append(
            asdict(job)
            | {
                "sent_at": int(attempt["sent_ms"]) / 1000,
                "received_at": entry["received_at"],
                "completed_at": entry["completed_at"],
                "handed_over_at": int(attempt["storing_ms"]) / 1000,
                "stored_at": int(attempt["stored_ms"]) / 1000,
                "webhook_at": fleet.receiver.arrived_at[job.job_id],
                "looks": entry["looks"],
            }
        )
    return rows


def time_between(case: str, rows: list[dict[str, Any]], what: str, start: str, end: str) -> Figure:
    """Give how long each job took from one of its moments to another."""
    return figure(case, what, "ms", *(round((row[end] - row[start]) * 1000, 2) for row in rows))


def _figures(case: Case, rows: list[dict[str, Any]], cpu: dict[str, float]) -> list[Figure]:
    def between(what: str, start: str, end: str) -> Figure:
        return time_between(case.name, rows, what, start, end)

    first = rows[0]
    added = [row["webhook_at"] - row["posted_at"] - (row["completed_at"] - row["received_at"]) for row in rows]
    return [
        between("POST → 202", "posted_at", "answered_at"),
        between("POST → submit reaches upstream", "posted_at", "received_at"),
        figure(
            case.name,
            "… of the first job after the start",
            "ms",
            round((first["received_at"] - first["posted_at"]) * 1000, 2),
        ),
        between("upstream completed → webhook received", "completed_at", "webhook_at"),
        between("… completed → seen by a look", "completed_at", "handed_over_at"),
        between("… seen → images and job.json in the bucket", "handed_over_at", "stored_at"),
        between("… stored → webhook received", "stored_at", "webhook_at"),
        between("seen → webhook received", "handed_over_at", "webhook_at"),
        figure(case.name, "all that is not inference", "ms", *(round(value * 1000, 2) for value in added)),
        figure(case.name, "looks a job", "", *(row["looks"] for row in rows)),
        figure(case.name, "… mean", "", round(fmean([row["looks"] for row in rows]), 2)),
        figure(
            case.name,
            "… mean, of the second half",
            "",
            round(fmean([row["looks"] for row in rows[len(rows) // 2 :]]), 2),
        ),
        figure(
            case.name,
            "completed → seen by a look, mean",
            "ms",
            round(1000 * fmean([row["handed_over_at"] - row["completed_at"] for row in rows]), 1),
        ),
        *(
            figure(case.name, f"CPU of the {name} a job", "ms", round(used * 1000 / len(rows), 2))
            for name, used in cpu.items()
        ),
    ]
