"""One storm from end to end: start, let everything break, heal, wait until all has come to rest, judge."""

import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis

from darkroom.store import keys
from tests.chaos.storm.customers import Customers
from tests.chaos.storm.judge import Evidence, findings
from tests.chaos.storm.plan import Plan, Shape, draw
from tests.chaos.storm.receiver import storm_receiver
from tests.chaos.storm.report import Verdict, keep_histories, recoveries_s, totals
from tests.chaos.storm.world import KEYS, SECRET, World, running_world
from tests.support.cell import Cell
from tests.support.s3 import s3_client

LOOK_EVERY_S = 0.5


@dataclass(slots=True)
class Rest:
    """Says whether anything is still to be done; looked at twice a second."""

    redis: "redis.Redis"
    looked_at: float = 0.0
    reached: bool = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self.looked_at >= LOOK_EVERY_S:
            self.looked_at = now
            try:
                self.reached = self._is_reached()
            except redis.ConnectionError:
                self.reached = False
        return self.reached

    def _is_reached(self) -> bool:
        waiting = int(self.redis.hget(keys.DEPTH, "*|jobs") or 0)  # type: ignore[arg-type]
        timers = [str(member)[0] for member in self.redis.zrange(keys.DUE, 0, -1)]  # type: ignore[union-attr]
        lanes = [self.redis.hget(keys.lane(str(name)), "state") for name in self.redis.smembers(keys.LANES)]  # type: ignore[union-attr]
        return not waiting and not set(timers) & set("jdxwsm") and set(lanes) == {"open"}


def run_storm(seed: int, shape: Shape, folder: Path, *, settle_s: float) -> Verdict:
    """Run one storm; the verdict holds what broke a promise.

    Args:
        seed: of the plan.
        shape: how hard the storm is.
        folder: where logs and data are kept.
        settle_s: how long everything may take to come to rest after the healing; what has not by then is a finding.
    """
    plan = draw(seed, shape)
    with storm_receiver(seed, SECRET) as receiver, running_world(folder, shape, receiver) as world:
        customers = Customers(plan, api_url=world.api_url, keys=KEYS, hook_url=receiver.url)
        try:
            customers.start()
            _rage(world, plan)
            world.heal()
            settled_after_s = _come_to_rest(world, customers, settle_s)
            evidence = _gather(world, customers, plan)
            late = ["not at rest in time"] if settled_after_s > settle_s else []
            broken = [*late, *world.deaths, *findings(evidence)]
            if broken:
                keep_histories(evidence, broken, folder)
            return Verdict(
                seed=seed,
                totals=totals(evidence),
                struck=dict(world.struck),
                recoveries_s=recoveries_s(evidence, world.struck_at),
                settled_after_s=settled_after_s,
                findings=broken,
                folder=folder,
            )
        finally:
            customers.close()


def _rage(world: World, plan: Plan) -> None:
    for strike in plan.strikes:
        world.later(strike.at_s, partial(world.strike, strike))
    ends_at = time.monotonic() + plan.shape.storm_s
    world.run_until(lambda: time.monotonic() > ends_at)


def _come_to_rest(world: World, customers: Customers, settle_s: float) -> float:
    healed_at = time.monotonic()
    waiting = threading.Thread(target=customers.finish, args=(settle_s,), daemon=True)
    waiting.start()
    world.run_until(lambda: not waiting.is_alive())
    with redis.Redis.from_url(world.valkey.url, decode_responses=True, encoding_errors="surrogateescape") as client:
        rest = Rest(client)
        world.run_until(lambda: rest() or time.monotonic() > healed_at + settle_s)
        return time.monotonic() - healed_at


def _gather(world: World, customers: Customers, plan: Plan) -> Evidence:
    with redis.Redis.from_url(world.valkey.url, decode_responses=True, encoding_errors="surrogateescape") as client:
        cell = Cell.read(client, match=f"{keys.ROOT}*")
    tenants = {job_id: job["tenant"] for job_id, job in cell.jobs.items()}
    return Evidence(
        plan=plan,
        notes=customers.notes,
        cell=cell,
        ledger=world.simulator.predictions(),
        hooks=list(world.receiver.hooks),
        unverified=list(world.receiver.unverified),
        shown={job_id: customers.job(tenant, job_id) for job_id, tenant in tenants.items()},
        s3=s3_client(world.s3),
        bucket=world.s3.bucket,
    )
