"""Webhooks while workers and Valkey are killed at random: none may be lost, none may change its id."""

import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import redis

from bench.deliveries import (
    Ends,
    all_delivered,
    check_ids,
    check_received,
    deliveries_of,
    first_attempts,
    is_taken,
    more_than_once,
    set_aside,
    steadily,
)
from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import START_TIMEOUT_S, breathes, environment
from bench.mortals import Killed, Mortals, draw_kills
from bench.processes import ServiceProcess
from bench.receivers import FIRST_FAILURES_PERCENT, SLOW_ANSWER_S, Arrival, Behaviour, running_receivers
from bench.waiting import wait_for
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import embedded_valkey
from simulator.testing import simulator_process

IMPATIENT = "0,0.5,1" + ",2" * 100
LOOK_EVERY_S = 0.02
ASK_EVERY_S = 0.5
SETTLE_TIMEOUT_S = 150.0


@dataclass(frozen=True, slots=True)
class Storm:
    """What happens: deliveries at a pace, and kills spread at random over that time."""

    seed: int
    deliveries: int = 1_000
    rate: float = 25.0
    receivers: int = 4
    workers: int = 3
    worker_kills: int = 12
    valkey_kills: int = 4

    @property
    def name(self) -> str:
        """What the table calls it."""
        kills = f"{self.worker_kills} × kill -9 of a worker, {self.valkey_kills} × of Valkey"
        return f"{self.deliveries:,} deliveries, {self.workers} workers, {kills}, seed {self.seed}"


def run(storm: Storm) -> Outcome:
    """Let it rage, wait until every delivery is settled, and judge what the receivers got; says the seed first."""
    print(f"webhook_kills: seed {storm.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        scratch = Path(folder)
        valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
        s3 = stack.enter_context(embedded_s3(scratch / "s3"))
        upstream = stack.enter_context(simulator_process())
        receivers = stack.enter_context(running_receivers(*[Behaviour.FAILS_FIRST] * storm.receivers))
        client = stack.enter_context(redis.Redis.from_url(valkey.url, decode_responses=True))
        env = environment(valkey.url, s3, upstream.url) | {"DARKROOM_WEBHOOK_RETRY_SCHEDULE": IMPATIENT}
        urls = [receivers.urls[number % storm.receivers] for number in range(storm.deliveries)]
        jobs, ends = set_aside(valkey.url, urls), Ends(valkey.url)

        def start_worker(number: int) -> ServiceProcess:
            name = f"worker-{number + 1}"
            return ServiceProcess(name, ("worker", "--name", name), scratch=scratch, env=env)

        mortals = Mortals(valkey, workers=storm.workers, start_worker=start_worker)
        stack.callback(mortals.close)
        for worker in mortals.workers:
            wait_for(partial(breathes, worker, client), START_TIMEOUT_S, what=f"{worker.name} to breathe")
        _rage(storm, mortals, ends, jobs)
        settled_s = _settle(storm, mortals, client, jobs)
        arrivals, deliveries = receivers.arrivals(), deliveries_of(client, jobs)
        complaints = mortals.complaints()
    check_ids(arrivals, deliveries)
    check_received(arrivals, deliveries)
    parameters = asdict(storm) | {"retry_schedule": IMPATIENT, "cancels_repeated": ends.repeated}
    raw = [asdict(arrival) for arrival in arrivals] + [asdict(kill) for kill in mortals.killed]
    return Outcome(
        "webhook_kills", parameters, _figures(storm, arrivals, mortals.killed, settled_s), raw, dict(complaints)
    )


def _rage(storm: Storm, mortals: Mortals, ends: Ends, jobs: list[str]) -> None:
    """Kill while the events happen, until all have happened and everybody is back."""
    kills = draw_kills(
        storm.seed,
        lasts_s=storm.deliveries / storm.rate,
        workers=storm.workers,
        worker_kills=storm.worker_kills,
        valkey_kills=storm.valkey_kills,
    )
    with ThreadPoolExecutor(1) as threads:
        ending = threads.submit(ends.run, steadily(jobs, rate=storm.rate))
        mortals.plan(kills)
        while not (ending.done() and mortals.at_rest):
            mortals.look_after()
            time.sleep(LOOK_EVERY_S)
        ending.result()


def _settle(storm: Storm, mortals: Mortals, client: "redis.Redis", jobs: list[str]) -> float:
    """Wait until every delivery is recorded as delivered; gives the seconds that took."""

    def settled() -> bool:
        mortals.look_after()
        return all_delivered(client, jobs)

    started = time.monotonic()
    wait_for(settled, SETTLE_TIMEOUT_S, what=f"all to be delivered: {storm.name}", pause_s=ASK_EVERY_S)
    return time.monotonic() - started


def _figures(storm: Storm, arrivals: list[Arrival], killed: Sequence[Killed], settled_s: float) -> list[Figure]:
    kills, taken = Counter(kill.what for kill in killed), [arrival for arrival in arrivals if is_taken(arrival)]
    ids = defaultdict[str, set[str]](set)
    for arrival in arrivals:
        ids[arrival.job_id].add(arrival.event_id)

    def one(what: str, unit: str, value: float) -> Figure:
        return figure(storm.name, what, unit, round(value, 2))

    def waits(what: str, some: list[Arrival]) -> Figure:
        waited_ms = [round((arrival.at - arrival.event_at) * 1000, 1) for arrival in first_attempts(some)]
        return figure(storm.name, what, "ms", *waited_ms)

    if not (cut_off := _open_at(killed, arrivals)):
        raise BenchError(f"{storm.name}: no kill met an attempt under way, so nothing is shown")
    return [
        one("kills of workers", "", kills["worker"]),
        one("kills of Valkey", "", kills["Valkey"]),
        one("attempts under way at a kill, of whichever worker", "", cut_off),
        one("events received", f"of {storm.deliveries:,}", len(first_attempts(taken))),
        one("events whose id changed between attempts", "", sum(len(some) > 1 for some in ids.values())),
        one("events taken more than once", "", more_than_once(arrivals)),
        one("attempts that arrived", "", len(arrivals)),
        waits("event → first attempt arrives", arrivals),
        waits(f"event → it is taken ({FIRST_FAILURES_PERCENT} % are answered 500 at first)", taken),
        one("last event and kill → all recorded as delivered", "s", settled_s),
    ]


def _open_at(killed: Sequence[Killed], arrivals: list[Arrival]) -> int:
    """Count attempts that had reached a receiver and had no answer yet when something was killed."""
    return sum(0 <= kill.at - arrival.at < SLOW_ANSWER_S for kill in killed for arrival in arrivals)
