"""Whether receivers that hang, fail or reset slow down webhooks to good ones, or jobs: the same without and with."""

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.deliveries import (
    Ends,
    Told,
    check_ids,
    check_received,
    deliveries_of,
    first_attempts,
    more_than_once,
    set_aside,
    steadily,
)
from bench.figures import BenchError, Figure, Outcome, figure, percentile
from bench.fleet import Fleet, running_fleet
from bench.latency import job_rows
from bench.load import Posted, post_steadily
from bench.receivers import Arrival, Behaviour, running_receivers
from bench.waiting import wait_for

FINISH_TIMEOUT_S = 60.0
LEAD_S = 1.0
"""Before the first event; the load's process has its connections open by then."""


@dataclass(frozen=True, slots=True)
class Case:
    """What else is delivered meanwhile: as many to each of these as to all the good ones together."""

    name: str
    beside: tuple[Behaviour, ...] = ()


CASES = (
    Case("none beside them"),
    Case("three other good ones beside them", (Behaviour.GOOD,) * 3),
    Case("one that hangs, one that fails, one that resets", (Behaviour.HANGS, Behaviour.FAILS, Behaviour.RESETS)),
)
"""The second shows what as much more work costs on the machine; what the third costs beyond it is the bad ones'."""


@dataclass(frozen=True, slots=True)
class Load:
    """Deliveries of one run to the good receivers in turn, and to each bad one; and the jobs beside them.

    `rate` is deliveries a second to the good ones together, and to each bad one; `job_rate` jobs a second.
    """

    deliveries: int = 1_000
    good: int = 4
    rate: float = 50.0
    job_rate: float = 2.0
    inference_s: float = 1.5
    rounds: int = 3
    poll_min_s: float = 2.0

    @property
    def jobs(self) -> int:
        """As many as fit into the time of the deliveries."""
        return max(1, int(self.deliveries / self.rate * self.job_rate))


@dataclass(frozen=True, slots=True)
class Run:
    """What one run showed: every attempt that arrived, at the good receivers and at those beside, and its jobs."""

    number: int
    case: Case
    good: list[Arrival]
    beside: list[Arrival]
    jobs: list[dict[str, Any]]

    def beside_at(self, behaviour: Behaviour) -> list[Arrival]:
        """Give what arrived at the receivers beside that do this."""
        return [arrival for arrival in self.beside if self.case.beside[arrival.receiver] is behaviour]


def run(load: Load) -> Outcome:
    """Run the cases in turn, each time on a fresh fleet, so that what changes on the machine meets all of them."""
    runs, complaints = [], Counter[str]()
    for number in range(1, load.rounds + 1):
        for case in CASES:
            with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
                runs.append(_run_case(load, number, case, Path(scratch), complaints))
    by_case = {case: [one for one in runs if one.case is case] for case in CASES}
    figures = [item for same in by_case.values() for item in _figures(load, same)]
    for case in CASES[1:]:
        figures += _against(by_case[CASES[0]], by_case[case])
    return Outcome("webhook_isolation", asdict(load), figures, _raw(runs), complaints)


def _run_case(load: Load, number: int, case: Case, scratch: Path, complaints: Counter[str]) -> Run:
    with ExitStack() as stack:
        good = stack.enter_context(running_receivers(*[Behaviour.GOOD] * load.good))
        beside = stack.enter_context(running_receivers(*case.beside))
        urls = [good.urls[number % load.good] for number in range(load.deliveries)]
        urls += [url for url in beside.urls for _ in range(load.deliveries)]
        ids: list[str] = []
        fleet = stack.enter_context(
            running_fleet(
                scratch,
                simulator={"inference_min_s": load.inference_s, "inference_max_s": load.inference_s},
                poll_min_s=load.poll_min_s,
                prepare=lambda url: ids.extend(set_aside(url, urls)),
            )
        )
        posted = _let_happen(load, fleet, ids)
        told = {job.job_id for job in posted}
        wait_for(
            lambda: sum(good.counts()) >= load.deliveries and fleet.receiver.arrived_at.keys() >= told,
            FINISH_TIMEOUT_S,
            what="every event of a good receiver, and of the jobs",
            pause_s=0.1,
        )
        fleet.receiver.check(list(told))
        jobs = job_rows(fleet, posted)
        complaints.update(fleet.complaints())
        run = Run(number, case, good.arrivals(), beside.arrivals(), jobs)
        _check(run, deliveries_of(fleet.redis, ids), ids[: load.deliveries])
        fleet.worker.kill()  # in order it would wait for the receiver that hangs
        return run


def _let_happen(load: Load, fleet: Fleet, ids: Sequence[str]) -> list[Posted]:
    """Let the events happen, each receiver's in between the others', while jobs are posted; gives the jobs."""
    groups = [ids[start : start + load.deliveries] for start in range(0, len(ids), load.deliveries)]
    planned = [
        moment
        for place, group in enumerate(groups)
        for moment in steadily(group, rate=load.rate, delay_s=LEAD_S + place / len(groups) / load.rate)
    ]
    with ThreadPoolExecutor(1) as threads:
        posting = threads.submit(post_steadily, fleet, jobs=load.jobs, rate=load.job_rate)
        Ends(fleet.redis_url).run(planned)
        return posting.result()


def _check(run: Run, deliveries: Mapping[str, Told], told: Sequence[str]) -> None:
    """Raise `BenchError` unless the good ones got all they were owed, once each and under its own id."""
    check_ids([*run.good, *run.beside], deliveries)
    check_received(run.good, {job_id: deliveries[job_id] for job_id in told})
    if twice := more_than_once(run.good):
        raise BenchError(f"{twice} events were told of more than once although nothing failed")


def _figures(load: Load, runs: list[Run]) -> list[Figure]:
    case = runs[0].case
    waits = [_waits_ms(one.good) for one in runs]
    figures = [
        figure(case.name, "event → good receiver", "ms", *(ms for some in waits for ms in some)),
        figure(case.name, "… p99 of each round", "ms", *(_p99(some) for some in waits)),
    ]
    for behaviour in dict.fromkeys(case.beside):
        arrived = [one.beside_at(behaviour) for one in runs]
        first = [ms for some in arrived for ms in _waits_ms(some)]
        figures.append(figure(case.name, f"event → first attempt, receiver beside: {behaviour}", "ms", *first))
        if behaviour is not Behaviour.GOOD:
            owed = f"of {load.deliveries * len(runs):,}"
            figures.append(figure(case.name, "… attempted at all before the run's end", owed, len(first)))
            figures.append(figure(case.name, "… attempts", "", sum(map(len, arrived))))
    return figures + _job_figures(case, [row for one in runs for row in one.jobs])


def _waits_ms(arrivals: list[Arrival]) -> list[float]:
    return [round((arrival.at - arrival.event_at) * 1000, 1) for arrival in first_attempts(arrivals)]


def _job_figures(case: Case, rows: list[dict[str, Any]]) -> list[Figure]:
    def between(what: str, start: str, end: str) -> Figure:
        return figure(case.name, what, "ms", *(round((row[end] - row[start]) * 1000, 1) for row in rows))

    return [
        between("jobs: POST → submit reaches upstream", "posted_at", "received_at"),
        between("jobs: upstream completed → stored", "completed_at", "stored_at"),
        between("… seen by a look → stored", "handed_over_at", "stored_at"),
        between("jobs: stored → webhook received", "stored_at", "webhook_at"),
    ]


def _against(alone: list[Run], beside: list[Run]) -> list[Figure]:
    """Give what became slower, each round against the same round's run with none beside."""
    moments: dict[str, Callable[[Run], float]] = {
        "event → good receiver, p99": lambda one: _p99(_waits_ms(one.good)),
        "jobs: POST → submit reaches upstream, median": lambda one: _median_s(one, "posted_at", "received_at"),
        "jobs: upstream completed → stored, median": lambda one: _median_s(one, "completed_at", "stored_at"),
    }
    return [
        figure(
            f"{beside[0].case.name}, against none",
            what,
            "% more",
            *(round(100 * (of(with_) / of(without) - 1), 1) for without, with_ in zip(alone, beside, strict=True)),
        )
        for what, of in moments.items()
    ]


def _p99(values: list[float]) -> float:
    return percentile(sorted(values), 99)


def _median_s(run: Run, start: str, end: str) -> float:
    return float(statistics.median(row[end] - row[start] for row in run.jobs))


def _raw(runs: list[Run]) -> list[dict[str, Any]]:
    """Give a row for each attempt and each job."""
    rows: list[dict[str, Any]] = []
    for one in runs:
        which = {"round": one.number, "case": one.case.name}
        rows += [{**which, "to": "good", **asdict(arrival)} for arrival in one.good]
        rows += [{**which, "to": "beside", **asdict(arrival)} for arrival in one.beside]
        rows += [{**which, **row} for row in one.jobs]
    return rows
