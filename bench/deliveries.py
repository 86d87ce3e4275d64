"""Deliveries without generation: jobs stand apart from the line, and each is canceled when its event is to happen.

A job's end writes its event and its delivery in one script, whichever end it is; a cancel before the submit is the one
that needs no upstream. So that no worker admits the jobs meanwhile, they are admitted to a lane that no worker serves.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import redis
from redis.exceptions import RedisError

from bench.figures import BenchError
from bench.line import call_each, enqueue_arguments, fill
from bench.receivers import Arrival
from darkroom.store import keys
from darkroom.store.connection import UNAVAILABLE, connect
from darkroom.store.scripts import Scripts

TENANT = "hooked"
LANE = "set-aside"
LANE_LIMIT = 10_000_000
LEASE_MS = 3_600_000
ADMIT_AT_ONCE = 500
AGAIN_S = 0.1
AWAY_MOST_S = 60.0


def set_aside(redis_url: str, webhook_urls: Sequence[str]) -> list[str]:
    """Make a job for each webhook that only waits to be canceled, and give their ids. No worker may run yet."""
    ids = fill(redis_url, (enqueue_arguments(TENANT, 1, webhook_url=url) for url in webhook_urls))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        call_each(client, "lane_configure", [(LANE, LANE_LIMIT, LANE_LIMIT, "images")])
        portions = range(0, len(ids), ADMIT_AT_ONCE)
        call_each(client, "admit", [(LANE, ADMIT_AT_ONCE, LEASE_MS, LANE_LIMIT) for _ in portions])
        if client.zcard(keys.unsent(LANE)) != len(ids):
            raise BenchError(f"{client.zcard(keys.unsent(LANE))} of {len(ids)} jobs are set aside")
        client.delete(keys.PROGRESS, keys.WAKE)  # nobody is going to begin what was called for here
    return ids


@dataclass(slots=True)
class Ends:
    """Ends jobs at their planned moments, and goes on while the store is away. `late_s` is how late the calls began."""

    redis_url: str
    late_s: list[float] = field(default_factory=list)
    repeated: int = 0

    def run(self, planned: Iterable[tuple[float, str]]) -> None:
        """Cancel each job so many seconds from now; returns once every cancel is acknowledged."""
        asyncio.run(self._run(sorted(planned)))

    async def _run(self, planned: list[tuple[float, str]]) -> None:
        connection = connect(self.redis_url)
        scripts, start = Scripts.shared(connection), time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for at_s, job_id in planned:
                    await asyncio.sleep(max(0.0, start + at_s - time.monotonic()))
                    self.late_s.append(time.monotonic() - start - at_s)
                    group.create_task(self._end(scripts, job_id))
        finally:
            await connection.aclose()

    async def _end(self, scripts: Scripts, job_id: str) -> None:
        """Cancel one job; the mark lets a call that is repeated after a lost answer give the same again."""
        deadline = time.monotonic() + AWAY_MOST_S
        while True:
            try:
                answer = int(await scripts.call("cancel", job_id, job_id))
            except UNAVAILABLE as error:
                if time.monotonic() > deadline:
                    raise BenchError(f"the store was away for {AWAY_MOST_S:g} s") from error
                self.repeated += 1
                await asyncio.sleep(AGAIN_S)
                continue
            if answer != 1:
                raise BenchError(f"cancel of {job_id} answered {answer}")
            return


@dataclass(frozen=True, slots=True)
class Told:
    """What the store holds of a job's one delivery."""

    event_id: str
    status: str


def steadily(job_ids: Sequence[str], *, rate: float, delay_s: float = 0.0) -> list[tuple[float, str]]:
    """Plan these jobs' ends so many a second, the first after the delay."""
    return [(delay_s + number / rate, job_id) for number, job_id in enumerate(job_ids)]


def deliveries_of(client: "redis.Redis", job_ids: Sequence[str]) -> dict[str, Told]:
    """Read the one delivery of each of these jobs.

    Raises:
        BenchError: a job has none, or several.
        redis.exceptions.RedisError: the store is away.
    """
    pipe = client.pipeline(transaction=False)
    for job_id in job_ids:
        pipe.hget(keys.job(job_id), "deliveries")
    found = dict(zip(job_ids, pipe.execute(), strict=True))
    if wrong := {job_id: ids for job_id, ids in found.items() if not ids or "," in ids}:
        raise BenchError(f"jobs without one delivery each: {wrong}")
    for delivery_id in found.values():
        pipe.hmget(keys.delivery(delivery_id), "event", "status")
    return {job_id: Told(*record) for job_id, record in zip(job_ids, pipe.execute(), strict=True)}


def all_delivered(client: "redis.Redis", job_ids: Sequence[str]) -> bool:
    """Say whether each of these jobs' deliveries has reached its receiver, as far as the store is there to ask."""
    try:
        return {told.status for told in deliveries_of(client, job_ids).values()} == {"delivered"}
    except RedisError:
        return False


def is_taken(arrival: Arrival) -> bool:
    """Say whether the receiver took it, so that it counts as delivered."""
    return 200 <= arrival.answered < 300


def check_ids(arrivals: Iterable[Arrival], deliveries: Mapping[str, Told]) -> None:
    """Raise `BenchError` unless every attempt carried the id of its job's event."""
    wrong = [
        arrival
        for arrival in arrivals
        if arrival.job_id not in deliveries or deliveries[arrival.job_id].event_id != arrival.event_id
    ]
    if wrong:
        raise BenchError(f"{len(wrong)} attempts under another id than their event's, such as {wrong[0]}")


def check_received(arrivals: Iterable[Arrival], deliveries: Mapping[str, Told]) -> None:
    """Raise `BenchError` unless each of these events was taken by its receiver at least once."""
    taken = {arrival.event_id for arrival in arrivals if is_taken(arrival)}
    missing = [(job_id, told) for job_id, told in deliveries.items() if told.event_id not in taken]
    if missing:
        raise BenchError(f"{len(missing)} of {len(deliveries)} events were received by nobody, such as {missing[0]}")


def first_attempts(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Give the earliest arrival of each event."""
    earliest: dict[str, Arrival] = {}
    for arrival in sorted(arrivals, key=lambda arrival: arrival.at):
        earliest.setdefault(arrival.event_id, arrival)
    return list(earliest.values())


def more_than_once(arrivals: Iterable[Arrival]) -> int:
    """Count events that were taken more than once: at least once is promised, not exactly once."""
    times = Counter(arrival.event_id for arrival in arrivals if is_taken(arrival))
    return sum(count > 1 for count in times.values())
