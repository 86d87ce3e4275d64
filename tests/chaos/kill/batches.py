"""Batches that meet kills: how they are posted, and every point of their way at which an ingress or a worker is killed.

The lines of most lie far apart, blank ones between them, so that every sweep of a handful of jobs has several slices.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from darkroom.checkpoints import Checkpoint
from darkroom.store import keys
from darkroom.store.batch_ids import batch_job_id
from tests.chaos.kill.rig import Caught, Rig
from tests.support.cell import Cell
from tests.support.waiting import wait_until

LINES = (1, 150, 300, 450, 620, 700)
HEAVY_LINES = tuple(range(1, 71))
"""So many heavy jobs are staged in two calls."""

HEAVY = {"metadata": {f"k{number}": "x" * 512 for number in range(16)}}
PADDING = "x" * 9_900
DROPPED_S = 45
"""An upload of which nothing is heard is dropped after 30 s."""


@dataclass
class PostedBatch:
    """One batch under its key, and what its kills must have come to."""

    rig: Rig
    label: str
    key: str
    lines: tuple[int, ...] = LINES
    heavy: bool = False
    ends: str = "completed"
    """The status that all its jobs end with."""
    batch_id: str = ""
    first_id: str = ""
    """The batch of the first upload under the key."""
    killed_ms: int = 0
    kills: int = 0

    @property
    def jobs(self) -> dict[str, str]:
        """Its jobs, with their prompts."""
        return {batch_job_id(self.batch_id, line): self.prompt(line) for line in self.lines}

    def prompt(self, line: int) -> str:
        """Give the prompt of a line, which no other job has."""
        return f"{self.label} {self.key} line {line}. {PADDING if self.heavy else ''}".strip()

    def upload(self) -> httpx.Response:
        """Send all of it, again or for the first time."""
        more = HEAVY if self.heavy else {}
        texts = {line: json.dumps({"prompt": self.prompt(line), **more}) for line in self.lines}
        body = "\n".join(texts.get(line, "") for line in range(1, max(self.lines) + 1))
        return self.rig.fleet.client.post(
            "/v1/batches",
            content=body,
            params={"webhook_url": self.rig.fleet.receiver.url},
            headers={"Content-Type": "application/x-ndjson", "Idempotency-Key": self.key},
        )

    def repeat_until_accepted(self) -> httpx.Response:
        """Send it again until the first upload no longer counts as under way."""

        def accepted() -> httpx.Response | None:
            answer = self.upload()
            assert answer.status_code in (202, 409), answer.text
            return answer if answer.status_code == 202 else None

        answer: httpx.Response = wait_until(accepted, DROPPED_S, what="the repeated upload is accepted")  # type: ignore[assignment]
        self.batch_id = answer.json()["id"]
        return answer

    def record(self, batch_id: str = "") -> dict[str, str]:
        """Read its record."""
        record: dict[str, str] = self.rig.fleet.redis.hgetall(keys.batch(batch_id or self.batch_id))  # type: ignore[assignment]
        return record

    def seen(self, batch_id: str) -> int:
        """Say how many jobs of a batch can be seen or sent: that are listed, have a turn or are counted as waiting."""
        cell = Cell.read(self.rig.fleet.redis)
        listed = {name for _, index in cell.under("index:") for name in index} & {
            batch_job_id(batch_id, line) for line in self.lines
        }
        turns = [name for name, batches in cell.under("flows:") if batch_id in batches]
        return len(listed) + len(turns)

    def kill(self, caught: Caught) -> None:
        """Kill what stands at the point."""
        caught.kill()
        self.killed_ms = int(time.time() * 1000)
        self.kills += 1

    @contextmanager
    def while_posting(self, path: str = "") -> Iterator[None]:
        """Upload, or post to a path of the batch, to an ingress that is killed meanwhile."""
        call = (lambda: self.rig.fleet.client.post(path)) if path else self.upload
        with self.rig.in_background(call) as sending:
            yield
            assert isinstance(sending.exception(10), httpx.TransportError), "the ingress died before it answered"
        self.rig.api()

    def swept_by_both(self, sweep: str, action: str, *first: str) -> None:
        """Have a sweep asked for while no worker moves; kill the ingress in its middle, and the worker that goes on.

        `first` are asked for before, and answered.
        """
        point = Checkpoint.BATCH_SLICE
        with self.rig.standing_still():
            self.repeat_until_accepted()
            here = f"/v1/batches/{self.batch_id}"
            for earlier in first:
                assert self.rig.fleet.client.post(f"{here}/{earlier}").status_code == 200
            wanted = [f"{sweep} {self.batch_id}"]
            self.rig.arm(point, wanted)
            with self.while_posting(f"{here}/{action}"):
                self.kill(self.rig.caught(point))
            assert f"{sweep}_line" in self.record(), "the sweep is in the middle"
            self.rig.arm(point, wanted)
        self.kill(self.rig.caught(point))
        assert f"{sweep}_line" in self.record(), "the sweep is in the middle"
        self.rig.worker()


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """One point, and what is done to a batch there."""

    name: str
    meet: Callable[[PostedBatch], None]
    lines: tuple[int, ...] = LINES
    heavy: bool = False
    ends: str = "completed"

    def kill_at(self, rig: Rig) -> PostedBatch:
        """Post a batch, kill whoever comes by the point with it, and start another one."""
        batch = PostedBatch(rig, self.name, f"batch-{len(rig.batches)}", self.lines, self.heavy, self.ends)
        self.meet(batch)
        assert batch.kills, f"nobody was killed at {self.name}"
        rig.batches[batch.batch_id] = batch.jobs
        return batch


def _unlinked(point: Checkpoint, holds: Callable[[dict[str, str]], bool]) -> Callable[[PostedBatch], None]:
    """Kill the ingress before the batch is accepted: there is nothing of it, and the repetition makes all of it."""

    def meet(batch: PostedBatch) -> None:
        batch.rig.arm(point)
        with batch.while_posting():
            caught = batch.rig.caught(point)
            batch.first_id = caught.details[0]
            record = batch.record(batch.first_id)
            assert record["status"] == "accepting"
            assert holds(record), f"not at {batch.label}: {record}"
            assert batch.seen(batch.first_id) == 0
            batch.kill(caught)
        answer = batch.repeat_until_accepted()
        assert "Idempotent-Replayed" not in answer.headers
        assert batch.batch_id != batch.first_id

    return meet


def _linked(batch: PostedBatch) -> None:
    batch.rig.arm(Checkpoint.BATCH_LINKED)
    with batch.while_posting():
        caught = batch.rig.caught(Checkpoint.BATCH_LINKED)
        batch.first_id = caught.details[0]
        assert batch.record(batch.first_id)["status"] == "running"
        batch.kill(caught)
    answer = batch.repeat_until_accepted()
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert batch.batch_id == batch.first_id


def _dropped(batch: PostedBatch) -> None:
    """Kill the ingress before the batch is accepted, and the worker in the middle of removing what was staged."""
    batch.rig.arm(Checkpoint.BATCH_BEFORE_LINK)
    with batch.while_posting():
        caught = batch.rig.caught(Checkpoint.BATCH_BEFORE_LINK)
        batch.first_id = caught.details[0]
        batch.kill(caught)
    _worker_in(batch, Checkpoint.BATCH_SLICE, f"drop {batch.first_id}", timeout_s=DROPPED_S)
    assert batch.record(batch.first_id)["status"] == "dropped"
    batch.rig.worker()
    wait_until(lambda: not batch.record(batch.first_id), 30, what="what was staged is gone")
    batch.repeat_until_accepted()


def _listed(batch: PostedBatch) -> None:
    """Kill the ingress before it lists the jobs, and the worker in the middle of listing them."""
    with batch.rig.standing_still():
        batch.rig.arm(Checkpoint.BATCH_LINKED)
        with batch.while_posting():
            caught = batch.rig.caught(Checkpoint.BATCH_LINKED)
            batch.first_id = caught.details[0]
            batch.kill(caught)
        batch.rig.arm(Checkpoint.BATCH_SLICE, [f"list {batch.first_id}"])
    batch.kill(batch.rig.caught(Checkpoint.BATCH_SLICE))
    assert "list_line" in batch.record(batch.first_id), "the sweep is in the middle"
    batch.rig.worker()
    batch.repeat_until_accepted()
    assert batch.batch_id == batch.first_id


def _canceled(batch: PostedBatch) -> None:
    batch.swept_by_both("cancel", "cancel")


def _retried(batch: PostedBatch) -> None:
    batch.swept_by_both("retry", "retry?include=canceled", "cancel")


def _worker_at(
    point: Checkpoint, wanted: str, holds: Callable[[dict[str, str]], bool]
) -> Callable[[PostedBatch], None]:
    """Kill the worker while it ends the batch."""

    def meet(batch: PostedBatch) -> None:
        with batch.rig.standing_still():
            batch.repeat_until_accepted()
            batch.rig.arm(point, [f"{wanted} {batch.batch_id}"])
        caught = batch.rig.caught(point, 60)
        assert holds(batch.record()), f"not at {batch.label}: {batch.record()}"
        batch.kill(caught)
        batch.rig.worker()

    return meet


def _worker_in(batch: PostedBatch, point: Checkpoint, wanted: str, *, timeout_s: float) -> None:
    batch.rig.arm(point, [wanted])
    batch.kill(batch.rig.caught(point, timeout_s))


def _ended(record: dict[str, str]) -> bool:
    return record["status"] == "completed" and "manifest" not in record


BATCH_POINTS: tuple[BatchPoint, ...] = (
    BatchPoint(
        "batch: begun, nothing staged", _unlinked(Checkpoint.BATCH_BEGUN, lambda record: record["total"] == "0")
    ),
    BatchPoint(
        "batch: in mid staging",
        _unlinked(Checkpoint.BATCH_STAGED, lambda record: 0 < int(record["total"]) < len(HEAVY_LINES)),
        lines=HEAVY_LINES,
        heavy=True,
    ),
    BatchPoint(
        "batch: staged, not linked",
        _unlinked(Checkpoint.BATCH_BEFORE_LINK, lambda record: record["total"] == str(len(LINES))),
    ),
    BatchPoint("batch: in mid dropping", _dropped),
    BatchPoint("batch: linked, not answered", _linked),
    BatchPoint("batch: in mid listing", _listed),
    BatchPoint("batch: in mid cancel", _canceled, ends="canceled"),
    BatchPoint("batch: in mid retry", _retried),
    BatchPoint("manifest: claimed, nothing written", _worker_at(Checkpoint.MANIFEST_CLAIMED, "", _ended)),
    BatchPoint("manifest: results written, not batch.json", _worker_at(Checkpoint.MANIFEST_RESULTS, "", _ended)),
    BatchPoint("manifest: written, not told", _worker_at(Checkpoint.MANIFEST_WRITTEN, "", _ended)),
    BatchPoint("manifest: told", _worker_at(Checkpoint.MANIFEST_TOLD, "", lambda record: "manifest" in record)),
    BatchPoint(
        "batch: in mid retiring", _worker_at(Checkpoint.BATCH_SLICE, "retire", lambda record: "retire_line" in record)
    ),
)
"""In the order in which a batch comes by them."""
