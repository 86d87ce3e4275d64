"""A large batch through the command line, the client killed twice and a worker once: paid once, fetched once."""

import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from bench.errand import UPSTREAM, Errand, World, running_world
from bench.fetched import Fetches, Life, check_folder, check_paid_once, count_fetches, images_in
from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import START_TIMEOUT_S
from bench.processes import ServiceProcess
from bench.waiting import wait_for

MEMORY = ".darkroom-batches.json"
LOOK_EVERY_S = 0.2
WORKER_KILLED = "jobs under way when the worker was killed"
AWAY_S = (0.2, 1.5)
UNDER_WAY = ("submitting", "unconfirmed", "generating", "storing")
TIMEOUT_S = 1_200.0


@dataclass(frozen=True, slots=True)
class Moments:
    """When what is killed: seconds after the upload began, images in the folder, jobs that have completed."""

    upload_s: float
    client_images: int
    worker_jobs: int
    worker: int
    away_s: float


def draw(errand: Errand) -> Moments:
    """Draw the moments from the seed."""
    rng = random.Random(errand.seed)
    upload_s = rng.uniform(0, errand.upload_s)
    images, jobs = (max(1, round(rng.uniform(*errand.share) * count)) for count in (errand.images, errand.jobs))
    return Moments(upload_s, images, jobs, rng.randrange(errand.workers), rng.uniform(*AWAY_S))


def run(errand: Errand) -> Outcome:
    """Send it off, kill, let it come to its end, and judge folder, ledger and fetches; says the seed first."""
    print(f"cli_batch: seed {errand.seed}", file=sys.stderr)
    moments = draw(errand)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, running_world(errand, Path(scratch)) as world:
        started = time.monotonic()
        accepted = _kill_while_uploading(world, moments)
        under_way = _kill_while_fetching(world, moments)
        document = _last_life(world)
        took_s = time.monotonic() - started
        found = _judged(errand, moments, world, document, accepted=accepted, took_s=took_s)
        return replace(found, figures=[*found.figures, figure(errand.name, WORKER_KILLED, "", under_way)])


def _kill_while_uploading(world: World, moments: Moments) -> bool:
    """Kill the client so long after it has begun to send; tells whether the service had taken the batch by then."""
    began_at, client = time.time(), world.start_client()

    def has_begun() -> bool:
        client.must_run()
        return (world.folder / MEMORY).exists()

    wait_for(has_begun, START_TIMEOUT_S, what="the client to send", pause_s=0.001)
    time.sleep(moments.upload_s)
    _kill(world, client, began_at)
    return bool(world.batches())


def _kill_while_fetching(world: World, moments: Moments) -> int:
    """Run it again, kill a worker and the client when each is due, and bring the worker back.

    Gives how many jobs were under way when the worker was killed.
    """
    began_at, client = time.time(), world.start_client()
    under_way: int | None = None

    def strike_what_is_due() -> bool:
        nonlocal under_way
        if client.popen.poll() is None and len(images_in(world.folder)) >= moments.client_images:
            _kill(world, client, began_at)
        if under_way is None and (counts := _counts(world))["completed"] >= moments.worker_jobs:
            under_way = sum(counts[status] for status in UNDER_WAY)
            _replace_worker(world, moments)
        if len(world.lives) == 1:
            client.must_run()
        return under_way is not None and len(world.lives) > 1

    wait_for(strike_what_is_due, TIMEOUT_S, what="both kills", pause_s=LOOK_EVERY_S)
    if not under_way:
        raise BenchError("no job was under way when the worker was killed, so nothing is shown")
    return under_way


def _replace_worker(world: World, moments: Moments) -> None:
    world.workers[moments.worker].kill()
    time.sleep(moments.away_s)
    world.workers[moments.worker] = world.start_worker(moments.worker)


def _counts(world: World) -> dict[str, int]:
    """Read how many of the batch's jobs have each status; none while there is no batch."""
    batches = world.batches()
    return Counter(batches[0]["counts"]) if batches else Counter()


def _kill(world: World, client: ServiceProcess, began_at: float) -> None:
    client.must_run()
    client.kill()
    world.door.wait_until_left()  # or what it asked for last would count as the next life's
    world.lives.append(Life(began_at, time.time(), "kill -9", images_in(world.folder)))


def _last_life(world: World) -> dict[str, Any]:
    """Run it to its end and give the document that it prints."""
    began_at, client = time.time(), world.start_client()
    if client.popen.wait(TIMEOUT_S) != 0:
        raise BenchError(f"the client ended with {client.popen.returncode}: {client.output()[-2_000:]}")
    world.lives.append(Life(began_at, time.time(), "its end", images_in(world.folder)))
    document: dict[str, Any] = orjson.loads(client.output().splitlines()[-1])
    return document


def _judged(
    errand: Errand, moments: Moments, world: World, document: dict[str, Any], *, accepted: bool, took_s: float
) -> Outcome:
    batches, batch = world.batches(), document["batch"]
    if [one["id"] for one in batches] != [batch["id"]]:
        raise BenchError(f"there are {len(batches)} batches")
    results = [orjson.loads(line) for line in world.get(f"/v1/batches/{batch['id']}/results").iter_lines()]
    size_bytes = check_folder(world.folder, results, jobs=errand.jobs, images_each=errand.images_each)
    ledger = world.upstream.ledger()
    check_paid_once(ledger["predictions"], errand.prompts)
    if ledger["totals"]["images"] != errand.images or document["downloads"]["images"] != errand.images:
        raise BenchError(f"{ledger['totals']['images']} images were paid for, {document['downloads']} are told of")
    fetches = count_fetches(world.door.fetches(), world.lives)
    if fetches.once + len(fetches.cut) != errand.images:
        raise BenchError(f"{fetches.once + len(fetches.cut)} images came through the door")
    lives: list[dict[str, Any]] = [
        {"life": number, "began_at": life.began_at, "ended_at": life.ended_at, "ended_by": life.ended_by,
         "images": len(life.images)} for number, life in enumerate(world.lives, 1)
    ]  # fmt: skip
    raw = [*lives, {"worker_killed": moments.worker + 1}, *({"fetched_twice": image} for image in fetches.cut)]
    parameters = asdict(errand) | {"moments": asdict(moments), "upstream": UPSTREAM, "settings": errand.settings}
    parameters |= {"batch_was_accepted_before_the_first_kill": accepted}
    figures = _figures(errand, world.lives, ledger["totals"], results, fetches, size_bytes=size_bytes, took_s=took_s)
    return Outcome("cli_batch", parameters, figures, raw, dict(world.complaints()))


def _figures(
    errand: Errand,
    lives: list[Life],
    totals: dict[str, Any],
    results: list[dict[str, Any]],
    fetches: Fetches,
    *,
    size_bytes: int,
    took_s: float,
) -> list[Figure]:
    def one(what: str, unit: str, value: float) -> Figure:
        return figure(errand.name, what, unit, round(value, 2))

    first, second, _ = lives
    return [
        one("images in the folder, each the job's by its SHA-256", f"of {errand.images:,}", len(lives[-1].images)),
        one("… when the client was killed first", "", len(first.images)),
        one("… when it was killed again", "", len(second.images)),
        one("batches", "", 1),
        one("predictions that upstream was paid for", f"of {errand.jobs:,}", totals["predictions"]),
        one("jobs paid for twice", "", totals["predictions"] - errand.jobs),
        one("POSTs of jobs in all, by the service's count", "", sum(result["job"]["submits"] for result in results)),
        one("GETs of outputs", "", fetches.in_all),
        one("images whose fetch a kill cut, fetched again", "", len(fetches.cut)),
        one("images fetched twice otherwise", "", fetches.in_all - errand.images - len(fetches.cut)),
        one("first start of the client → everything is in the folder", "s", took_s),
        one("bytes in the folder", "MB", size_bytes / 1e6),
    ]
