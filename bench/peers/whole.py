"""The whole way of a job, side by side: what a thousand jobs cost, how fast they go, what one in flight weighs."""

import time
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from bench.figures import BenchError, Figure, Outcome, figure, percentile
from bench.memory import MB, Sampler
from bench.peers.sides import DARKROOM, PEERS, WARM_UP_JOBS, Peer, Running, running

QUIET_S = 120.0
"""Longer than any job takes from its submit to its webhook."""

SAMPLE_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Case:
    """How long upstream takes, and how many jobs each side gets: as many as it has under way, or a few times that."""

    inference_min_s: float
    inference_max_s: float
    jobs: dict[str, int]

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"inference {self.inference_min_s:g}–{self.inference_max_s:g} s"


SHORT = Case(5, 10, {DARKROOM: 2_000, "celery-sdk, prefork": 40, "": 400})
LONG = Case(30, 60, {DARKROOM: 2_000, "celery-sdk, prefork": 16, "": 200})
ROUNDS = 5


@dataclass(slots=True)
class Seen:
    """One run of one side."""

    case: str
    round: int
    side: str
    jobs: int
    seconds: float
    cpu_s: float
    idle_rss_bytes: int
    peak_rss_bytes: int
    worker_peak_rss_bytes: int
    most_in_flight: int
    looks: int
    lost: int
    paid_twice: int
    delays_ms: list[float] = field(repr=False)


def run(name: str, case: Case, *, rounds: int = ROUNDS) -> Outcome:
    """Run every side in turn, round after round."""
    sides: list[Peer | None] = [None, *PEERS]
    seen = [run_side(case, number, side) for number, side in product(range(1, rounds + 1), sides)]
    for item in seen:
        if item.side == DARKROOM and (item.lost or item.paid_twice):
            raise BenchError(f"Darkroom lost jobs or paid for them twice: {raw_of(item)}")
    figures = _figures(case, seen)
    parameters = {"case": asdict(case), "rounds": rounds, "peers": [asdict(peer) for peer in PEERS]}
    return Outcome(name, parameters, figures, [raw_of(item) for item in seen], page=_page(case, figures))


def run_side(case: Case, number: int, side: Peer | None) -> Seen:
    simulator = {"inference_min_s": case.inference_min_s, "inference_max_s": case.inference_max_s}
    with running(side, simulator=simulator) as up:
        jobs = case.jobs.get(up.name, case.jobs[""])
        tree = up.tree()
        idle, used = tree.rss_bytes(), tree.cpu_s()
        with (
            Sampler(tree, every_s=SAMPLE_EVERY_S) as sampler,
            Sampler(up.worker(), every_s=SAMPLE_EVERY_S) as of_worker,
        ):
            up.enqueue(WARM_UP_JOBS, jobs)
            lost = await_webhooks(up, jobs)
        ledger = up.ledger()
        first = min(entry["received_at"] for entry in ledger)
        return Seen(
            case.name, number, up.name, jobs,
            seconds=max(up.receiver.arrived_at.values()) - first,
            cpu_s=up.tree().cpu_s() - used,
            idle_rss_bytes=idle,
            peak_rss_bytes=max(sample.rss_bytes for sample in sampler.samples),
            worker_peak_rss_bytes=max(sample.rss_bytes for sample in of_worker.samples),
            most_in_flight=up.simulator.stats()["max_in_flight"],
            looks=sum(entry["looks"] for entry in ledger),
            lost=lost,
            paid_twice=len(ledger) - len({entry["prompt"] for entry in ledger}),
            delays_ms=_delays(up, ledger),
        )  # fmt: skip


def await_webhooks(up: Running, jobs: int) -> int:
    """Wait until all are told of, or none has been for so long that no more will be; give how many were not."""
    arrived, since = 0, time.monotonic()
    while arrived < jobs and time.monotonic() - since < QUIET_S:
        up.tree()
        time.sleep(0.1)
        if len(up.receiver.arrived_at) > arrived:
            arrived, since = len(up.receiver.arrived_at), time.monotonic()
    return jobs - arrived


def _delays(up: Running, ledger: list[dict[str, Any]]) -> list[float]:
    """From the end of each prediction to its webhook, in milliseconds."""
    ended = {entry["prompt"]: entry["completed_at"] for entry in ledger}
    arrived = up.receiver.arrived_at.items()
    return [round((at - ended[up.receiver.prompts[job_id]]) * 1000, 1) for job_id, at in arrived]


def _figures(case: Case, seen: list[Seen]) -> list[Figure]:
    figures = []
    for side in dict.fromkeys(item.side for item in seen):
        mine = [item for item in seen if (item.case, item.side) == (case.name, side)]

        def of(what: str, unit: str, *values: float, side: str = side) -> Figure:
            return figure(f"{side}, {case.name}", what, unit, *(round(value, 3) for value in values))

        figures += [
            of("jobs", "", *(item.jobs for item in mine)),
            of("jobs a second", "", *((item.jobs - item.lost) / item.seconds for item in mine)),
            of("CPU a thousand jobs", "s", *(1000 * item.cpu_s / item.jobs for item in mine)),
            of("RSS at its peak", "MB", *(item.peak_rss_bytes / MB for item in mine)),
            of("most in flight", "", *(item.most_in_flight for item in mine)),
            of(
                "RSS a generation in flight", "kB", *(item.peak_rss_bytes / 1000 / item.most_in_flight for item in mine)
            ),
            of(
                "RSS added a generation in flight",
                "kB",
                *((item.peak_rss_bytes - item.idle_rss_bytes) / 1000 / item.most_in_flight for item in mine),
            ),
            of("looks a job", "", *(item.looks / item.jobs for item in mine)),
            of("completed → webhook, median", "ms", *(percentile(sorted(item.delays_ms), 50) for item in mine)),
            of("completed → webhook, p99", "ms", *(percentile(sorted(item.delays_ms), 99) for item in mine)),
            of("lost", "", *(item.lost for item in mine)),
            of("paid twice", "", *(item.paid_twice for item in mine)),
        ]
    return figures


def raw_of(item: Seen) -> dict[str, Any]:
    return {name: value for name, value in asdict(item).items() if name != "delays_ms"}


MORE_IS_BETTER = {"jobs a second", "most in flight"}
SHOWN = (
    "jobs a second", "CPU a thousand jobs", "RSS at its peak", "most in flight", "RSS a generation in flight",
    "RSS added a generation in flight", "looks a job", "completed → webhook, median", "completed → webhook, p99",
    "lost", "paid twice",
)  # fmt: skip


def _page(case: Case, figures: list[Figure]) -> str:
    """Show medians with their spread, a column a side, the best of each row in bold."""
    sides = [DARKROOM, *(peer.name for peer in PEERS)]
    lines = [f"# Darkroom beside its peers, {case.name}", ""]
    lines += ["How it is taken: [METHOD.md](../METHOD.md). Median (least–most); the best of a row in bold.", ""]
    found = {(item.case, item.what): item for item in figures}
    lines += [f"| | {' | '.join(sides)} |", "|---|" + "--:|" * len(sides)]
    for what in SHOWN:
        row = [found[f"{side}, {case.name}", what] for side in sides]
        lines.append(f"| {what}{', ' if row[0].unit else ''}{row[0].unit} | {' | '.join(_cells(what, row))} |")
    return "\n".join([*lines, ""])


def _cells(what: str, row: list[Figure]) -> list[str]:
    medians = [float(item.summary()["median"]) for item in row]
    best = max(medians) if what in MORE_IS_BETTER else min(medians)
    shown = []
    for item, median in zip(row, medians, strict=True):
        text = _number(median)
        text = f"**{text}**" if median == best else text
        least, most = item.summary()["min"], item.summary()["max"]
        shown.append(text if least == most else f"{text} ({_number(float(least))}–{_number(float(most))})")
    return shown


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
