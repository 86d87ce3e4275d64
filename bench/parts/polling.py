"""Polling: requests a CPU-second of the service's own client beside plain httpx, against predictions that don't end."""

from dataclasses import asdict, dataclass
from itertools import product

import httpx

from bench.figures import Outcome
from bench.parts.contest import DARKROOM, Seen, Side, compare, run_side
from darkroom.upstream.outcomes import MODEL
from simulator.testing import SimulatorProcess, simulator_process

SIDES = (
    Side(DARKROOM, "polling_darkroom"),
    Side(f"{DARKROOM}, pages of the list call", "polling_list"),
    Side("httpx", "polling_httpx"),
)
KEY = "ws_bench"
NEVER_S = 86_400.0
LIMIT = 100_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """How many look at once, for how long, how often."""

    at_once: tuple[int, ...] = (500,)
    predictions: int = 1_000
    seconds: float = 8.0
    warm_up_s: float = 2.0
    rounds: int = 5


def run(load: Load) -> Outcome:
    """Let each side look in turn, round after round."""
    seen: list[Seen] = []
    with simulator_process(
        inference_min_s=NEVER_S, inference_max_s=NEVER_S, images_per_minute=LIMIT, max_concurrency=LIMIT
    ) as upstream:
        task = {
            "upstream_url": upstream.url,
            "key": KEY,
            "ids": _submit(upstream, load.predictions),
            "seconds": load.seconds,
            "warm_up_s": load.warm_up_s,
        }
        for number, at_once, side in product(range(1, load.rounds + 1), load.at_once, SIDES):
            one = task | {"at_once": at_once}
            case = f"{at_once} at once"
            seen.append(run_side(side, one, part="polling", case=case, number=number, environment={}))
    return Outcome("polling", asdict(load), compare(seen, "looks", ""), [item.raw() for item in seen])


def _submit(upstream: SimulatorProcess, predictions: int) -> list[str]:
    with httpx.Client(base_url=upstream.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        body = {"prompt": "bench", "size": "2048*2048", "max_images": 1}
        answers = [client.post(f"/api/v3/{MODEL}", json=body) for _ in range(predictions)]
    return [str(answer.raise_for_status().json()["data"]["id"]) for answer in answers]
