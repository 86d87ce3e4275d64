"""A steady load: each job is posted at its own moment, however long the ones before it take to be answered."""

import asyncio
import time
from dataclasses import dataclass

import aiohttp

from bench.figures import BenchError
from bench.fleet import Fleet

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Posted:
    """One accepted job; Unix seconds on this machine's clock."""

    number: int
    job_id: str
    planned_at: float
    posted_at: float
    answered_at: float


def post_steadily(fleet: Fleet, *, jobs: int, rate: float) -> list[Posted]:
    """Post `jobs` jobs, `rate` a second, and give them once each has been answered 202."""
    return asyncio.run(_post_all(fleet, jobs, rate))


async def _post_all(fleet: Fleet, jobs: int, rate: float) -> list[Posted]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(fleet.api_url, headers=fleet.headers, timeout=timeout) as session:
        start = time.time()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_post(session, fleet, n, start + n / rate)) for n in range(jobs)]
    return [task.result() for task in tasks]


async def _post(session: aiohttp.ClientSession, fleet: Fleet, number: int, planned_at: float) -> Posted:
    await asyncio.sleep(max(0.0, planned_at - time.time()))
    posted_at = time.time()
    async with session.post("/v1/jobs", json=fleet.body(number)) as response:
        answer = await response.read()
        answered_at = time.time()
        if response.status != 202:
            raise BenchError(f"POST {number} answered {response.status}: {answer[:300]!r}")
        job = await response.json()
    return Posted(number, job["id"], planned_at, posted_at, answered_at)
