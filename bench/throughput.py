"""What one worker process does when no account holds it back, and what two do."""

import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil

from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from bench.peers.sides import LIFTED, Tree
from bench.posting import post_batch
from bench.processes import used_cpu_s
from bench.saturation import calls_of

QUIET_S = 120.0
SAMPLE_EVERY_S = 0.5
MIDDLE = (0.2, 0.8)
"""The part of the webhooks over which the rate is taken: neither the ramp nor the end counts."""

BATCH_LINES = 50_000


@dataclass(frozen=True, slots=True)
class Case:
    """How many jobs through how many worker processes; `images_per_minute` is the account's."""

    jobs: int
    workers: int = 1
    images_per_minute: int = LIFTED
    max_concurrency: int = LIFTED
    inference_min_s: float = 5.0
    inference_max_s: float = 10.0
    image_bytes: int = 100_000
    poll_min_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment (Unix seconds): jobs told of, CPU seconds of the service and of Valkey, the machine's share in use."""

    at: float
    told: int
    service_cpu_s: float
    valkey_cpu_s: float
    machine_busy_percent: float
    service_rss_bytes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One run."""

    case: Case
    round: int
    samples: list[Sample]
    rate: float
    most_in_flight: int
    calls: int

    def calls_a_job(self) -> float:
        """Give the calls of Valkey, those of looks and of Celery included."""
        return self.calls / self.case.jobs

    def cpu_s(self) -> float:
        """CPU seconds of workers and api a thousand jobs, over the whole run."""
        return 1000 * (self.samples[-1].service_cpu_s - self.samples[0].service_cpu_s) / self.case.jobs

    def valkey_cpu_s(self) -> float:
        """CPU seconds of Valkey a thousand jobs."""
        return 1000 * (self.samples[-1].valkey_cpu_s - self.samples[0].valkey_cpu_s) / self.case.jobs


LIFTED_CASES = (Case(8_000), Case(8_000, workers=2))
LIFTED_ROUNDS = 3


def run(cases: tuple[Case, ...] = LIFTED_CASES, *, rounds: int = LIFTED_ROUNDS) -> Outcome:
    """Run each number of workers in turn, round after round."""
    seen = [run_case(case, number) for number, case in product(range(1, rounds + 1), cases)]
    figures: list[Figure] = []
    for case in cases:
        mine = [one for one in seen if one.case == case]
        label = f"{case.workers} worker{'s' if case.workers > 1 else ''}, no limit, {case.jobs:,} jobs at once"
        figures += [
            figure(label, "jobs a second", "", *(round(one.rate, 1) for one in mine)),
            figure(label, "CPU of workers and api a thousand jobs", "s", *(round(one.cpu_s(), 2) for one in mine)),
            figure(label, "CPU of Valkey a thousand jobs", "s", *(round(one.valkey_cpu_s(), 2) for one in mine)),
            figure(label, "the whole machine's cores in use", "%", *(round(_busy(one), 1) for one in mine)),
            figure(label, "most in flight", "", *(one.most_in_flight for one in mine)),
        ]
    return Outcome("throughput", {"cases": [asdict(case) for case in cases]}, figures, raw_of(seen))


def run_case(case: Case, number: int) -> Seen:
    """Post all jobs to a fresh fleet and watch until the last webhook."""
    limits = {"images_per_minute": case.images_per_minute, "max_concurrency": case.max_concurrency}
    simulator = {
        "inference_min_s": case.inference_min_s,
        "inference_max_s": case.inference_max_s,
        "image_bytes": case.image_bytes,
        **limits,
    }
    settings = {f"WAVESPEED_{name.upper()}": str(value) for name, value in limits.items()}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        running_fleet(
            Path(scratch), simulator=simulator, poll_min_s=case.poll_min_s, workers=case.workers, settings=settings
        ) as fleet,
    ):
        calls = calls_of(fleet.redis)
        samples = _watch(fleet, case)
        calls = calls_of(fleet.redis) - calls
        fleet.receiver.check(list(fleet.receiver.arrived_at))
        if (made := fleet.simulator.ledger()["totals"]["predictions"]) != case.jobs:
            raise BenchError(f"{case.jobs} jobs made {made} predictions")
        arrived = sorted(fleet.receiver.arrived_at.values())
        first, last = (int(share * (case.jobs - 1)) for share in MIDDLE)
        rate = (last - first) / (arrived[last] - arrived[first])
        return Seen(case, number, samples, rate, fleet.simulator.stats()["max_in_flight"], calls)


def _watch(fleet: Fleet, case: Case) -> list[Sample]:
    tree = Tree(*(worker.popen.pid for worker in fleet.workers), fleet.api.popen.pid)
    valkey = psutil.Process(int(fleet.redis.info("server")["process_id"]))

    def sample() -> Sample:
        told = len(fleet.receiver.arrived_at)
        return Sample(time.time(), told, tree.cpu_s(), used_cpu_s(valkey), psutil.cpu_percent(), tree.rss_bytes())

    psutil.cpu_percent()
    samples, since = [sample()], time.monotonic()
    for first in range(0, case.jobs, BATCH_LINES):
        post_batch(fleet, min(BATCH_LINES, case.jobs - first), first=first)
    while samples[-1].told < case.jobs:
        if time.monotonic() - since > QUIET_S:
            raise BenchError(f"{samples[-1].told} of {case.jobs} jobs were told of")
        time.sleep(SAMPLE_EVERY_S)
        for process in (*fleet.workers, fleet.api):
            process.must_run()
        samples.append(sample())
        if samples[-1].told > samples[-2].told:
            since = time.monotonic()
    return samples


def _busy(seen: Seen) -> float:
    """Give the mean share of all cores in use while the rate was taken."""
    first, last = (share * seen.case.jobs for share in MIDDLE)
    during = [sample.machine_busy_percent for sample in seen.samples if first <= sample.told <= last]
    return sum(during) / max(1, len(during))


def raw_of(seen: list[Seen]) -> list[dict[str, Any]]:
    """Give every sample for the raw records."""
    return [
        {"jobs": one.case.jobs, "workers": one.case.workers, "round": one.round, **asdict(sample)}
        for one in seen
        for sample in one.samples
    ]
