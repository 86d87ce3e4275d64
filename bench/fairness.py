"""How long one job of a small tenant waits until its submit behind a giant's 50,000, against an empty line."""

import random
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.figures import Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from bench.line import enqueue_arguments, fill
from bench.waiting import wait_for
from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys

FULL_TIMEOUT_S = 120.0
SUBMIT_TIMEOUT_S = 120.0
MOST_IMAGES = 4


@dataclass(frozen=True, slots=True)
class Case:
    """An account of which one limit binds."""

    name: str
    images_per_minute: int
    max_concurrency: int
    inference_min_s: float
    inference_max_s: float
    giant: int = 50_000
    singles: int = 15
    poll_min_s: float = 2.0


CONCURRENCY_BINDS = Case("the concurrency binds (6)", 5_000, 6, 3.0, 6.0)
RATE_BINDS = Case("the rate binds (120 a minute)", 120, 5_000, 1.5, 2.5)


def run(name: str, cases: list[Case]) -> Outcome:
    """Measure each case on a fleet of its own."""
    figures: list[Figure] = []
    raw: list[dict[str, Any]] = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            waits = _measure(case, Path(scratch))
        for line, values in waits.items():
            figures.append(figure(case.name, f"POST → submit reaches upstream, {line}", "ms", *values))
            raw += [{"case": case.name, "line": line, "ms": value} for value in values]
    return Outcome(name, {"cases": [asdict(case) for case in cases]}, figures, raw)


def _measure(case: Case, scratch: Path) -> dict[str, list[float]]:
    settings = {
        "WAVESPEED_IMAGES_PER_MINUTE": str(case.images_per_minute),
        "WAVESPEED_MAX_CONCURRENCY": str(case.max_concurrency),
    }
    simulator = {
        "inference_min_s": case.inference_min_s,
        "inference_max_s": case.inference_max_s,
        "image_bytes": 20_000,
    }
    rng = random.Random(1)
    with running_fleet(scratch, simulator=simulator, poll_min_s=case.poll_min_s, settings=settings) as fleet:
        alone = [_wait_ms(fleet, number, rng) for number in range(case.singles)]
        fill(fleet.redis_url, (enqueue_arguments("giant", rng.randint(1, MOST_IMAGES)) for _ in range(case.giant)))
        wait_for(lambda: _is_full(fleet, case), FULL_TIMEOUT_S, what="the giant to reach the limit")
        behind = [_wait_ms(fleet, case.singles + number, rng) for number in range(case.singles)]
        left = int(str(fleet.redis.hget(keys.DEPTH, "giant|normal") or 0))
    return {"the line empty": alone, f"{case.giant:,} of another tenant waiting ({left:,} at the end)": behind}


def _is_full(fleet: Fleet, case: Case) -> bool:
    slots = int(fleet.redis.zcard(keys.slots(DEFAULT_LANE)))
    used = int(str(fleet.redis.hget(keys.lane(DEFAULT_LANE), "used") or 0))
    return slots >= case.max_concurrency or used > case.images_per_minute - MOST_IMAGES


def _wait_ms(fleet: Fleet, number: int, rng: random.Random) -> float:
    """Post one job at a random moment and give how long it took to reach upstream."""
    time.sleep(rng.uniform(0.2, 1.5))
    prompt = f"single {number:06d}"
    posted_at = time.time()
    httpx.post(
        f"{fleet.api_url}/v1/jobs", headers=fleet.headers, json={"prompt": prompt}, timeout=30
    ).raise_for_status()
    [entry] = wait_for(lambda: fleet.simulator.predictions(prompt), SUBMIT_TIMEOUT_S, what=prompt, pause_s=0.05)
    return round((float(entry["received_at"]) - posted_at) * 1000, 1)
