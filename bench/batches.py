"""What a batch of 50,000 lines costs: seconds to accept, memory of the API, how long Valkey was kept from others.

The lane is paused, so that nothing but accepting, cancelling, retrying and reading is measured. Beside it somebody else
asks for one job over and over.
"""

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from bench.figures import BenchError, Figure, Outcome, figure
from bench.fleet import Fleet, running_fleet
from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys

TIMEOUT_S = 600.0
NDJSON = {"Content-Type": "application/x-ndjson"}
CHUNK_BYTES = 65_536
LOGGED_FROM_US = 1_000
PROMPT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lines of the batches, and how often each is posted, by turns."""

    lines: tuple[int, ...] = (1_000, 50_000)
    rounds: int = 3


def run(sizes: Sizes) -> Outcome:
    """Measure each size in turn, a round after another, on one fleet."""
    raw: list[dict[str, Any]] = []
    settings = {"DARKROOM_MAX_QUEUED_PER_TENANT": "10000000"}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        running_fleet(Path(scratch), simulator={}, poll_min_s=2.0, settings=settings) as fleet,
    ):
        fleet.redis.hset(keys.lane(DEFAULT_LANE), mapping={"state": "paused", "reason": "operator"})
        fleet.redis.config_set("slowlog-log-slower-than", LOGGED_FROM_US)
        fleet.redis.config_set("slowlog-max-len", 100_000)
        for number in range(sizes.rounds):
            raw += [_measure(fleet, lines, number) for lines in sizes.lines]
        complaints = dict(fleet.complaints())
    figures = [line for lines in sizes.lines for line in _figures(lines, [row for row in raw if row["lines"] == lines])]
    return Outcome("batches", asdict(sizes), figures, raw, complaints)


def _measure(fleet: Fleet, lines: int, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"lines": lines, "round": number}
    api = psutil.Process(fleet.api.popen.pid)
    body = _body(lines, number)
    with httpx.Client(base_url=fleet.api_url, headers=fleet.headers, timeout=TIMEOUT_S) as client:
        bad = body[:-2] + b"!\n"
        row |= _timed(fleet, api, "refuse", lambda: _post(client, bad, expected=422))
        row["refused"] = [row["refuse_answer"]["code"], row["refuse_answer"]["errors"]]
        if _waiting(fleet) or row["refused"][1][0]["loc"][:2] != ["line", lines] or len(row["refused"][1]) > 1:
            raise BenchError("a refused batch has left jobs in the line, or its bad line is not named")
        row |= _timed(fleet, api, "accept", lambda: _post(client, body, expected=202))
        batch = str(row.pop("accept_answer")["id"])
        if _waiting(fleet) != lines:
            raise BenchError(f"{_waiting(fleet)} of {lines} jobs wait")
        row |= _timed(fleet, api, "cancel", lambda: client.post(f"/v1/batches/{batch}/cancel").json())
        row |= _timed(fleet, api, "retry", lambda: client.post(f"/v1/batches/{batch}/retry?include=canceled").json())
        row |= _timed(fleet, api, "cancel_again", lambda: client.post(f"/v1/batches/{batch}/cancel").json())
        row |= _timed(fleet, api, "results", lambda: _read(client, batch, lines))
    for what in ("refuse", "cancel", "retry", "cancel_again", "results"):
        row.pop(f"{what}_answer", None)
    return row


def _body(lines: int, number: int) -> bytes:
    rng = random.Random(number)
    words = "abcdefghijklmnopqrstuvwxyz "
    return b"".join(
        orjson.dumps({"prompt": "".join(rng.choices(words, k=PROMPT_CHARACTERS)), "custom_id": f"panel-{line}"}) + b"\n"
        for line in range(lines)
    )


def _post(client: httpx.Client, body: bytes, *, expected: int) -> dict[str, Any]:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), CHUNK_BYTES):
            yield body[start : start + CHUNK_BYTES]

    answer = client.post("/v1/batches", content=chunks(), headers=NDJSON)
    if answer.status_code != expected:
        raise BenchError(f"the API answers {answer.status_code}: {answer.text[:200]}")
    return dict(answer.json())


def _read(client: httpx.Client, batch: str, lines: int) -> dict[str, Any]:
    with client.stream("GET", f"/v1/batches/{batch}/results") as answer:
        count = sum(1 for _ in answer.iter_lines())
    if count != lines:
        raise BenchError(f"{count} of {lines} results")
    return {}


def _timed(fleet: Fleet, api: psutil.Process, what: str, do: Any) -> dict[str, Any]:
    """Do it, and give what it took: seconds, memory of the API at its most, and how others fared meanwhile."""
    fleet.redis.slowlog_reset()
    rewrites = _rewrites(fleet)
    before = api.memory_info().rss
    with _beside(fleet, api) as seen:
        started = time.perf_counter()
        answer = do()
        seconds = time.perf_counter() - started
    slow: list[dict[str, Any]] = fleet.redis.slowlog_get(100_000)
    return {
        f"{what}_s": seconds,
        f"{what}_rss_growth": max([*seen["rss"], before]) - before,
        f"{what}_longest_us": max((int(entry["duration"]) for entry in slow), default=LOGGED_FROM_US),
        f"{what}_longest": [[int(entry["duration"]), _script(entry["command"])] for entry in _longest_of(slow)],
        f"{what}_aof_rewrites": _rewrites(fleet) - rewrites,
        f"{what}_reads_ms": seen["reads"],
        f"{what}_answer": answer,
    }


def _rewrites(fleet: Fleet) -> int:
    return int(fleet.redis.info("persistence")["aof_rewrites"])


def _longest_of(slow: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(slow, key=lambda entry: int(entry["duration"]), reverse=True)[:5]


def _script(command: bytes | str) -> str:
    """Give the beginning of a command: a script's name is not in it, its digest is."""
    text = command.decode(errors="replace") if isinstance(command, bytes) else command
    return " ".join(text.split()[:2])[:60]


@contextmanager
def _beside(fleet: Fleet, api: psutil.Process) -> Iterator[dict[str, list[float]]]:
    """Read the line's state over and over as somebody else, and the API's memory."""
    over, seen = threading.Event(), {"reads": [], "rss": []}  # type: ignore[var-annotated]

    def read() -> None:
        with httpx.Client(base_url=fleet.api_url, headers=fleet.headers, timeout=TIMEOUT_S) as client:
            while not over.is_set():
                started = time.perf_counter()
                client.get("/v1/jobs/job_01J00000000000000000000000")
                seen["reads"].append((time.perf_counter() - started) * 1000)
                seen["rss"].append(api.memory_info().rss)
                over.wait(0.01)

    thread = threading.Thread(target=read)
    thread.start()
    while not seen["reads"]:
        over.wait(0.001)
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _waiting(fleet: Fleet) -> int:
    return int(str(fleet.redis.hget(keys.DEPTH, "*|jobs") or 0))


def _figures(lines: int, rows: list[dict[str, Any]]) -> Iterator[Figure]:
    case = f"{lines:,} lines"
    yield figure(case, "lines accepted a second, durable", "/s", *(lines / row["accept_s"] for row in rows))
    for what, words in (
        ("accept", "accept"),
        ("refuse", "refuse for its last line"),
        ("cancel", "cancel"),
        ("retry", "retry"),
        ("results", "read the results"),
    ):
        yield figure(case, words, "s", *(row[f"{what}_s"] for row in rows))
        yield figure(case, "… longest command of Valkey (1 ms or less: 1)", "ms", *_longest(rows, what))
        calm = [row for row in rows if not row[f"{what}_aof_rewrites"]]
        if calm:
            yield figure(case, "… where no rewrite of the append-only file began", "ms", *_longest(calm, what))
        yield figure(case, "… another's GET meanwhile", "ms", *(ms for row in rows for ms in row[f"{what}_reads_ms"]))
        yield figure(case, "… the API's memory grows by", "MB", *(row[f"{what}_rss_growth"] / 1e6 for row in rows))


def _longest(rows: list[dict[str, Any]], what: str) -> list[float]:
    return [row[f"{what}_longest_us"] / 1000 for row in rows]
