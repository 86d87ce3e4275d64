"""Thousands of lost submits at once: how soon each is settled, and how many listings that takes.

The losses are written by the service's own moves while no worker runs; half of them had created a prediction. Then one
worker starts and settles them all.
"""

import asyncio
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import redis

from bench.figures import BenchError, Outcome, figure
from bench.fleet import environment
from bench.processes import start_in
from bench.waiting import wait_for
from darkroom.jobs import JobRequest
from darkroom.line.lanes import DEFAULT_LANE, LaneStore
from darkroom.line.line import Line
from darkroom.store import keys
from darkroom.store.attempts import AttemptStore, Moved
from darkroom.store.connection import connect
from darkroom.store.jobs import JobStore
from darkroom.upstream.client import fingerprint_of_key
from darkroom.upstream.outcomes import MODEL
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import embedded_valkey
from simulator.testing import SimulatorProcess, simulator_process

LEASE_MS = 3_600_000
SETTLED_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Losses:
    """How many submits were lost, and the window after which an absent one is believed."""

    jobs: int = 3_000
    window_s: int = 120


def run(losses: Losses) -> Outcome:
    """Lose them all, start one worker, and wait until each is settled."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        scratch = Path(folder)
        valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
        s3 = stack.enter_context(embedded_s3(scratch / "s3"))
        upstream = stack.enter_context(simulator_process(inference_min_s=600, inference_max_s=600))
        client = stack.enter_context(redis.Redis.from_url(valkey.url, decode_responses=True))
        env = environment(valkey.url, s3, upstream.url) | {"DARKROOM_RECONCILE_WINDOW_SECONDS": str(losses.window_s)}
        prompts = asyncio.run(_lose(valkey.url, losses.jobs, env["WAVESPEED_API_KEY"]))
        created = prompts[::2]
        _create(upstream, created, env["WAVESPEED_API_KEY"])
        started = time.monotonic()
        worker = start_in(stack, "worker", "worker", "--queues", "store", scratch=scratch, env=env)
        adopted_s = _seconds_until(client, started, {"generating": len(created)})
        absent_s = _seconds_until(client, started, {"generating": len(created), "queued": len(prompts) - len(created)})
        stats = upstream.stats()["requests"]
        if upstream.ledger()["totals"]["predictions"] != len(created) or stats["submit"] != len(created):
            raise BenchError("something was sent again")
        case = f"{losses.jobs:,} lost submits, half of them created, window {losses.window_s} s"
        figures = [
            figure(case, "until all that exist are adopted", "s", adopted_s),
            figure(case, "until all that do not are back in the line", "s", absent_s),
            figure(case, "list calls in all (100 predictions an answer)", "calls", stats["list"]),
        ]
        return Outcome("reconcile", asdict(losses), figures, complaints=dict(worker.complaints()))


async def _lose(redis_url: str, jobs: int, api_key: str) -> list[str]:
    """Take jobs up to the point where the answers to their submits are lost; gives their prompts."""
    connection = connect(redis_url)
    attempts, store, line = AttemptStore(connection), JobStore(connection), Line(connection)
    await LaneStore(connection).configure(
        DEFAULT_LANE, images_per_minute=10 * jobs, max_concurrency=2 * jobs, rate_cost="images"
    )
    prompts = [f"lost panel {number}" for number in range(jobs)]
    for prompt in prompts:
        await store.enqueue("bench", JobRequest(prompt=prompt))
        admission = await line.admit(DEFAULT_LANE, most=1, lease_ms=LEASE_MS, max_unstored=10 * jobs)
        [ticket] = admission.tickets
        intent = await attempts.begin_submit(
            ticket, lease_ms=LEASE_MS, sync_lease_ms=LEASE_MS, key=fingerprint_of_key(api_key)
        )
        if intent is None or await attempts.unknown(ticket, look_in_ms=0, message="reset") is not Moved.DONE:
            raise BenchError(f"{prompt} could not be lost")
    await connection.aclose()
    return prompts


def _create(upstream: SimulatorProcess, prompts: list[str], api_key: str) -> None:
    """Make the predictions whose answers were lost."""
    with httpx.Client(base_url=upstream.url, headers={"Authorization": f"Bearer {api_key}"}, timeout=30) as http:

        def post(prompt: str) -> None:
            body = {"prompt": prompt, "size": "2048*2048", "max_images": 1}
            http.post(f"/api/v3/{MODEL}", json=body).raise_for_status()

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(post, prompts))


def _seconds_until(client: "redis.Redis", started: float, wanted: dict[str, int]) -> float:
    def reached() -> bool:
        found = Counter({status: int(client.zcard(keys.index("bench", status))) for status in wanted})
        return all(found[status] >= count for status, count in wanted.items())

    wait_for(reached, SETTLED_TIMEOUT_S, what=f"{wanted}")
    return time.monotonic() - started
