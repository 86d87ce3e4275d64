"""Webhooks: whether bad receivers slow good ones and jobs, and what one worker process delivers for which CPU."""

import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import redis

from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from bench.receivers import Receivers, running_receivers
from bench.waiting import wait_for
from darkroom.ids import new_id
from darkroom.jobs import JobRequest, Webhook
from darkroom.store import keys
from darkroom.store.scripts import digests, sources

TTL_MS = 7 * 86_400_000
BAD = ("hang", "error", "reset")
SIMULATOR = {"inference_min_s": 1.0, "inference_max_s": 1.5, "image_bytes": 100_000}


@dataclass(frozen=True, slots=True)
class Load:
    """How many events a receiver's kind is told of in one round (the good ones together), and how many a second."""

    events: int = 1_000
    rate: float = 50.0
    good: int = 4
    jobs_a_second: float = 2.0
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Pile:
    """How many deliveries are due at once when the worker starts to send, over how many receivers."""

    events: int = 3_000
    receivers: int = 8
    rounds: int = 3


def isolation(load: Load) -> Outcome:
    """Tell good receivers of events at a steady pace, alone and beside three bad ones, in turns, a fresh fleet each."""
    raw: list[dict[str, Any]] = []
    jobs: list[dict[str, Any]] = []
    for number in range(load.rounds):
        for beside in (False, True):
            with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
                told, posted = _round(load, Path(scratch), beside=beside)
            case = _case(beside)
            raw += [{"case": case, "round": number, **row} for row in told]
            jobs += [{"case": case, "round": number, **row} for row in posted]
    return Outcome("webhook_isolation", asdict(load), _isolation_figures(raw, jobs), raw + jobs)


def rate(pile: Pile) -> Outcome:
    """Let one worker find a pile of due deliveries, and time it and its CPU until the last has arrived."""
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(pile.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            for name, value in _send_pile(pile, Path(scratch)).items():
                figures[name].append(value)
    units = {"deliveries a second": "", "CPU of the worker a delivery": "ms"}
    case = f"{pile.events:,} due at once, {pile.receivers} receivers"
    return Outcome(
        "webhook_rate", asdict(pile), [figure(case, name, units[name], *values) for name, values in figures.items()]
    )


def _case(beside: bool) -> str:
    return "beside one that hangs, one that answers 500, one that resets" if beside else "none beside them"


def _round(load: Load, scratch: Path, *, beside: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    kinds = ["good"] * load.good + (list(BAD) if beside else [])
    with (
        running_receivers(scratch, kinds) as receivers,
        running_fleet(scratch, simulator=SIMULATOR, poll_min_s=1.0) as fleet,
    ):
        teller = _Teller(fleet.redis)
        posted = _tell_steadily(load, fleet, teller, receivers, beside=beside)
        wanted = {"good": load.events} | (dict.fromkeys(BAD, 1) if beside else {})
        wait_for(lambda: _all_told(receivers, wanted), 60, what="the good receivers to be told", pause_s=0.2)
        wait_for(lambda: all(fleet.attempt(job).get("stored_ms") for job in posted), 60, what="jobs", pause_s=0.2)
        return _first_arrivals(receivers), [_job_row(fleet, job, at) for job, at in posted.items()]


def _tell_steadily(
    load: Load, fleet: Fleet, teller: "_Teller", receivers: Receivers, *, beside: bool
) -> dict[str, float]:
    posted: dict[str, float] = {}
    start, every = time.time(), max(1, int(load.rate / load.jobs_a_second))
    with httpx.Client(base_url=fleet.api_url, headers=fleet.headers) as client:
        for number in range(load.events):
            time.sleep(max(0.0, start + number / load.rate - time.time()))
            teller.tell(receivers.urls[number % load.good])
            for place in range(load.good, len(receivers.urls)) if beside else ():
                teller.tell(receivers.urls[place])
            if number % every == 0:
                at = time.time()
                posted[client.post("/v1/jobs", json={"prompt": f"fox {number}"}).json()["id"]] = at
    return posted


def _all_told(receivers: Receivers, wanted: dict[str, int]) -> bool:
    ids: dict[str, set[object]] = defaultdict(set)
    for row in receivers.arrivals():
        ids[receivers.kinds[int(str(row["receiver"]))]].add(row["id"])
    return all(len(ids[kind]) >= count for kind, count in wanted.items())


def _first_arrivals(receivers: Receivers) -> list[dict[str, Any]]:
    first: dict[str, dict[str, Any]] = {}
    for row in receivers.arrivals():
        told_at = datetime.fromisoformat(str(row["told_at"])).timestamp()
        kind = receivers.kinds[int(str(row["receiver"]))]
        first.setdefault(str(row["id"]), {"kind": kind, "ms": round((float(str(row["at"])) - told_at) * 1000, 2)})
    return list(first.values())


def _job_row(fleet: Fleet, job_id: str, posted_at: float) -> dict[str, Any]:
    attempt = fleet.attempt(job_id)
    return {
        "kind": "job",
        "to_submit_ms": round(int(attempt["sent_ms"]) - posted_at * 1000, 2),
        "to_store_ms": int(attempt["stored_ms"]) - int(attempt["storing_ms"]),
    }


def _isolation_figures(raw: list[dict[str, Any]], jobs: list[dict[str, Any]]) -> list[Figure]:
    figures = []
    for case in dict.fromkeys(row["case"] for row in raw):
        for kind in ("good", *BAD):
            values = [row["ms"] for row in raw if (row["case"], row["kind"]) == (case, kind)]
            if values:
                figures.append(figure(case, f"event → first attempt arrives, {kind}", "ms", *values))
        for what, name in (("POST → submit", "to_submit_ms"), ("seen → stored", "to_store_ms")):
            values = [row[name] for row in jobs if row["case"] == case]
            figures.append(figure(case, f"a job beside: {what}", "ms", *values))
    return figures


def _send_pile(pile: Pile, scratch: Path) -> dict[str, float]:
    """Let the worker be stopped while the pile grows, so that all of it is due when it goes on."""
    with (
        running_receivers(scratch, ["good"] * pile.receivers) as receivers,
        running_fleet(scratch, simulator=SIMULATOR, poll_min_s=1.0) as fleet,
    ):
        teller = _Teller(fleet.redis)
        fleet.worker.freeze()
        for number in range(pile.events):
            teller.tell(receivers.urls[number % pile.receivers])
        before_s = fleet.worker.cpu_s()
        fleet.worker.thaw()
        wait_for(lambda: len(receivers.arrivals()) >= pile.events, 120, what="all to arrive", pause_s=0.2)
        cpu_s = fleet.worker.cpu_s() - before_s
        rows = receivers.arrivals()
        if len({row["id"] for row in rows}) != pile.events:
            raise BenchError(f"{pile.events} events, {len(rows)} arrivals of {len({row['id'] for row in rows})}")
        times = sorted(float(str(row["at"])) for row in rows)
        return {
            "deliveries a second": round(pile.events / (times[-1] - times[0]), 1),
            "CPU of the worker a delivery": round(cpu_s * 1000 / pile.events, 3),
        }


class _Teller:
    """Brings about one event at a time: a job that is enqueued and canceled in one go, so that nobody admits it."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        for name in ("enqueue", "cancel"):
            client.script_load(sources()[name])

    def tell(self, url: str) -> None:
        """Have a job's cancel told to this address."""
        request = JobRequest(prompt="a fox finds a lantern in the snow", webhook=Webhook(url=url))
        body = orjson.dumps(request.model_dump(mode="json", exclude_defaults=True)).decode()
        job_id = new_id("job")
        arguments = (job_id, "bench", 1, "normal", body, 0, "", "", 1, 10_000_000, TTL_MS, 0)
        pipe = self._client.pipeline(transaction=True)
        pipe.evalsha(digests()["enqueue"], 1, keys.ROOT, *arguments)
        pipe.evalsha(digests()["cancel"], 1, keys.ROOT, job_id, "")
        pipe.delete(keys.WAKE)  # nobody publishes the call for dispatch that the first script asks for
        if pipe.execute()[1] != 1:
            raise BenchError(f"{job_id} was not canceled")
