"""How many deliveries a second one worker process makes, and the CPU that each costs, with all of them due at once.

Beside it a plain loop of httpx POSTs, which signs nothing, keeps nothing and repeats nothing.
"""

import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path

import psutil
import redis

from bench.deliveries import Ends, all_delivered, check_ids, check_received, deliveries_of, more_than_once, set_aside
from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import environment
from bench.parts.contest import Seen, Side, run_side
from bench.processes import ServiceProcess, start_in, used_cpu_s
from bench.receivers import Arrival, Behaviour, Receivers, running_receivers
from bench.waiting import wait_for
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import EmbeddedValkey, embedded_valkey
from simulator.testing import simulator_process

FINISH_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 30.0
SAMPLE_EVERY_S = 0.02
PROCESSES = ("worker", "Valkey", "receivers")
LOOP = Side("httpx loop", "webhooks_loop")
WARM_UP = 50
LOOP_BODY = {"type": "job.completed", "timestamp": "2026-01-01T00:00:00Z", "data": {"prompt": "x" * 800}}
"""About as many bytes as an event."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many deliveries are due when the worker starts, to how many good receivers, and how often that is done."""

    deliveries: int = 3_000
    receivers: int = 8
    rounds: int = 5

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.deliveries:,} deliveries due at once to {self.receivers} receivers, one worker"


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds used so far by each of `PROCESSES` at one moment (Unix seconds)."""

    at: float
    cpu_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """One worker's way through the backlog, from the first arrival to the last."""

    arrivals: list[Arrival]
    samples: list[Sample]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.arrivals[-1].at - self.arrivals[0].at

    def cpu_s(self) -> dict[str, float]:
        """Give what each process used between the first and the last arrival; between samples it is taken as even."""
        start, end = (_cpu_at(self.samples, arrival.at) for arrival in (self.arrivals[0], self.arrivals[-1]))
        return {name: late - early for name, early, late in zip(PROCESSES, start, end, strict=True)}


def run(backlog: Backlog) -> Outcome:
    """Let a fresh worker go through a fresh backlog, several times."""
    rounds, loops, complaints = [], [], Counter[str]()
    for number in range(1, backlog.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            rounds.append(_run_round(backlog, Path(scratch), complaints))
        loops.append(_loop(backlog, number))
    raw = [
        {"round": number, **asdict(arrival)} for number, one in enumerate(rounds, start=1) for arrival in one.arrivals
    ]
    figures = [*_figures(backlog, rounds), *_loop_figures(backlog, loops)]
    return Outcome("webhook_rate", asdict(backlog), figures, [*raw, *(one.raw() for one in loops)], complaints)


def _loop(backlog: Backlog, number: int) -> Seen:
    """Let the loop post as many to receivers of the same kind."""
    with running_receivers(*[Behaviour.GOOD] * backlog.receivers) as receivers:
        task = {"urls": receivers.urls, "posts": backlog.deliveries, "warm_up": WARM_UP, "body": LOOP_BODY}
        seen = run_side(LOOP, task, part="webhooks", case=backlog.name, number=number, environment={})
        if (arrived := sum(receivers.counts())) != backlog.deliveries + WARM_UP:
            raise BenchError(f"the loop posted {backlog.deliveries}, and {arrived - WARM_UP} arrived")
    return seen


def _loop_figures(backlog: Backlog, loops: list[Seen]) -> list[Figure]:
    case = f"{LOOP.name}, as many to as many"
    return [
        figure(case, "deliveries a second", "a round each", *(round(one.done / one.seconds, 1) for one in loops)),
        figure(case, "CPU a delivery", "ms", *(round(1000 * one.cpu_s / backlog.deliveries, 3) for one in loops)),
    ]


def _run_round(backlog: Backlog, scratch: Path, complaints: Counter[str]) -> Round:
    with ExitStack() as stack:
        valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
        s3 = stack.enter_context(embedded_s3(scratch / "s3"))
        upstream = stack.enter_context(simulator_process())
        client = stack.enter_context(redis.Redis.from_url(valkey.url, decode_responses=True))
        receivers = stack.enter_context(running_receivers(*[Behaviour.GOOD] * backlog.receivers))
        jobs = set_aside(valkey.url, list(islice(cycle(receivers.urls), backlog.deliveries)))
        Ends(valkey.url).run((0.0, job_id) for job_id in jobs)
        worker = start_in(stack, "worker", "worker", scratch=scratch, env=environment(valkey.url, s3, upstream.url))
        samples = _sample(backlog, worker, valkey, receivers)
        wait_for(lambda: all_delivered(client, jobs), SETTLE_TIMEOUT_S, what="the last to be recorded", pause_s=0.1)
        arrivals, deliveries = receivers.arrivals(), deliveries_of(client, jobs)
        complaints.update(worker.complaints())
    check_ids(arrivals, deliveries)
    check_received(arrivals, deliveries)
    if twice := more_than_once(arrivals):
        raise BenchError(f"{twice} events were told of more than once although nothing failed")
    return Round(arrivals, samples)


def _sample(backlog: Backlog, worker: ServiceProcess, valkey: EmbeddedValkey, receivers: Receivers) -> list[Sample]:
    """Look at the processes until everything has arrived."""
    server, samples = psutil.Process(valkey.process.pid), []
    deadline = time.monotonic() + FINISH_TIMEOUT_S
    while True:
        arrived = sum(receivers.counts())
        samples.append(Sample(time.time(), (worker.cpu_s(), used_cpu_s(server), receivers.cpu_s())))
        if arrived >= backlog.deliveries:
            return samples
        worker.must_run()
        if time.monotonic() > deadline:
            raise BenchError(f"{arrived} of {backlog.deliveries} deliveries arrived within {FINISH_TIMEOUT_S:g} s")
        time.sleep(SAMPLE_EVERY_S)


def _cpu_at(samples: list[Sample], at: float) -> tuple[float, ...]:
    """Give the CPU used up to a moment, by the samples on both sides of it."""
    for before, after in pairwise(samples):
        if before.at <= at <= after.at:
            share = (at - before.at) / (after.at - before.at)
            return tuple(early + share * (late - early) for early, late in zip(before.cpu_s, after.cpu_s, strict=True))
    return samples[0 if at < samples[0].at else -1].cpu_s


def _figures(backlog: Backlog, rounds: list[Round]) -> list[Figure]:
    cpu = [one.cpu_s() for one in rounds]

    def per_round(what: str, unit: str, *values: float) -> Figure:
        return figure(backlog.name, what, unit, *(round(value, 3) for value in values))

    return [
        per_round("deliveries a second", "a round each", *(backlog.deliveries / one.seconds for one in rounds)),
        *(
            per_round(f"CPU of the {name} a delivery", "ms", *(1000 * used[name] / backlog.deliveries for used in cpu))
            for name in PROCESSES
        ),
        *(
            per_round(
                f"share of a core that the {name} used",
                "%",
                *(100 * used[name] / one.seconds for used, one in zip(cpu, rounds, strict=True)),
            )
            for name in PROCESSES
        ),
    ]
