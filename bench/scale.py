"""What each move costs inside Valkey with a thousand, a hundred thousand and a million jobs waiting, and in memory."""

import random
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import redis

from bench.figures import Figure, Outcome, figure
from bench.line import call_each, enqueue_arguments, fill
from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from deploy.embedded.valkey import embedded_valkey

LIMIT = 10_000_000
LEASE_MS = 3_600_000
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Depths:
    """How many jobs wait, spread over how many tenants, and how many calls of each script are timed."""

    depths: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    tenants: int = 100
    calls: int = 500
    admit_at_once: int = 64


@dataclass(slots=True)
class _Line:
    """The line as it grows."""

    client: "redis.Redis"
    url: str
    tenants: int
    ids: list[str] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def arguments(self, *, expires_in_ms: int = 0) -> tuple[str | int, ...]:
        """Give one more job of any tenant."""
        tenant = f"tenant-{self.rng.randrange(self.tenants):04d}"
        return enqueue_arguments(tenant, self.rng.randint(1, 4), expires_in_ms=expires_in_ms)

    def grow(self, depth: int) -> None:
        """Let jobs arrive until so many wait."""
        self.ids += fill(self.url, (self.arguments() for _ in range(depth - len(self.ids))))

    def pick(self, count: int) -> list[str]:
        """Take any of those that wait."""
        picked = self.rng.sample(range(len(self.ids)), count)
        chosen = [self.ids[at] for at in picked]
        for at in sorted(picked, reverse=True):
            self.ids[at] = self.ids[-1]
            self.ids.pop()
        return chosen


def run(plan: Depths) -> Outcome:
    """Grow one line to each depth and time every script there. The append-only file is off: only the scripts count."""
    figures: list[Figure] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        embedded_valkey(Path(scratch)) as valkey,
        redis.Redis.from_url(valkey.url, decode_responses=True, socket_timeout=60) as client,
    ):
        client.config_set("appendonly", "no")
        call_each(client, "lane_configure", [(DEFAULT_LANE, LIMIT, LIMIT, "images")])
        empty_bytes = _used_bytes(client)
        line = _Line(client, valkey.url, plan.tenants)
        for depth in plan.depths:
            line.grow(depth)
            memory = (_used_bytes(client) - empty_bytes) / depth
            figures += _time_all(plan, line, f"{depth:,} waiting", memory)
    return Outcome("scale", asdict(plan), figures)


def _used_bytes(client: "redis.Redis") -> int:
    return int(client.info("memory")["used_memory"])


def _time_all(plan: Depths, line: _Line, case: str, memory: float) -> list[Figure]:
    """Time each script; what it takes out of the line is made up for by new jobs."""
    client, calls = line.client, plan.calls

    def timed(what: str, us: float) -> Figure:
        return figure(case, what, "µs", round(us, 1))

    arriving = [line.arguments() for _ in range(calls)]
    figures = [timed("enqueue", call_each(client, "enqueue", arriving))]
    line.ids += [str(arguments[0]) for arguments in arriving]
    seen = [(job_id,) for job_id in line.rng.sample(line.ids, calls)]
    figures.append(timed("read a job with its position", call_each(client, "read_job", seen)))
    figures.append(timed("cancel", call_each(client, "cancel", [(job_id,) for job_id in line.pick(calls)])))
    figures.append(timed("expire", call_each(client, "expire", _overdue(line, calls))))
    figures.append(timed("admit, a job", _admit(plan, client)))
    return [*figures, figure(case, "memory of a waiting job, prompt of 200 characters", "bytes", round(memory))]


def _overdue(line: _Line, count: int) -> list[tuple[str]]:
    """Let jobs wait whose time is over."""
    ids = fill(line.url, (line.arguments(expires_in_ms=DAY_MS) for _ in range(count)))
    pipe = line.client.pipeline(transaction=False)
    for job_id in ids:
        pipe.hincrby(keys.job(job_id), "queued_ms", -2 * DAY_MS)
    pipe.execute()
    return [(job_id,) for job_id in ids]


def _admit(plan: Depths, client: "redis.Redis") -> float:
    """Admit in the dispatcher's portions, and put everything back to its place."""
    times = max(1, plan.calls // plan.admit_at_once)
    us = call_each(client, "admit", [(DEFAULT_LANE, plan.admit_at_once, LEASE_MS, LIMIT)] * times)
    admitted = client.zrange(keys.unsent(DEFAULT_LANE), 0, -1)
    if len(admitted) != times * plan.admit_at_once:
        raise RuntimeError(f"{len(admitted)} jobs were admitted")
    tickets = []
    for member in admitted:
        job_id, _, number = str(member).rpartition(":")
        tickets.append((job_id, int(number), int(str(client.hget(keys.attempt(job_id, int(number)), "lease")))))
    call_each(client, "unadmit", tickets)
    return us / plan.admit_at_once
