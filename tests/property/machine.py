"""What the state machine stands on: a real Valkey, the model beside it, and the comparison after every step."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import redis
from hypothesis.stateful import RuleBasedStateMachine, invariant
from redis.asyncio import Redis

from darkroom.line.lanes import DEFAULT_LANE, LaneStore
from darkroom.line.line import Line
from darkroom.store import keys
from darkroom.store.attempts import AttemptStore, Ticket
from darkroom.store.batches import BatchStore
from darkroom.store.callbacks import CallbackStore
from darkroom.store.connection import connect
from darkroom.store.deliveries import DeliveryStore
from darkroom.store.jobs import JobStore
from darkroom.store.uploads import UploadStore
from darkroom.timers import Timers
from tests.property.batch_model import ModelBatch
from tests.property.model import ModelJob, Try
from tests.property.repeating import Repeating
from tests.support.cell import Cell
from tests.support.conservation import broken_rules
from tests.support.lifetimes import immortal_keys

T = TypeVar("T")
HOUR_MS = 3_600_000


class StoreMachine(RuleBasedStateMachine):
    """Runs every move on the store and on the model. Subclasses add the rules and set `url`."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.client = redis.Redis.from_url(self.url, decode_responses=True, encoding_errors="surrogateescape")
        self.client.flushall()
        self.redis: Redis = connect(self.url)
        self.jobs, self.attempts = JobStore(self.redis), AttemptStore(self.redis)
        self.line, self.lanes = Line(self.redis), LaneStore(self.redis)
        self.timers, self.deliveries = Timers(self.redis), DeliveryStore(self.redis)
        self.callbacks = CallbackStore(self.redis)
        self.upload_store, self.batch_store = UploadStore(self.redis), BatchStore(self.redis)
        self.repeating = Repeating(self.jobs.scripts, self.client)
        self.model: dict[str, ModelJob] = {}
        self.batches: dict[str, ModelBatch] = {}
        self.owners: dict[str, tuple[str, int]] = {}
        self.once: dict[str, tuple[str, int]] = {}
        self.target: ModelJob | None = None
        self.paused = False
        self.suspects: set[str] = set()
        self.blamed = False
        self.limits = (20, 3)
        self.order = 0
        self.intents = 0
        self.configure()

    def teardown(self) -> None:
        """Close what was opened."""
        self.run(self.redis.aclose())
        self.runner.close()
        self.client.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for one call."""
        return self.runner.run(coroutine)

    def configure(self) -> None:
        """Tell the lane its limits."""
        rate, concurrency = self.limits
        self.run(
            self.lanes.configure(DEFAULT_LANE, images_per_minute=rate, max_concurrency=concurrency, rate_cost="images")
        )

    def has(self, *states: str) -> bool:
        """Whether any attempt is in one of these states."""
        return any(item.state in states for job in self.model.values() for item in job.tries.values())

    def choose(self, pick: int, *states: str) -> tuple[ModelJob, Try]:
        """Give an attempt in one of these states; one in seven times any attempt whatever it is doing."""
        if self.target is not None:
            return self.target, self.target.current
        everything = [(job, item) for job in self.model.values() for item in job.tries.values()]
        fitting = [(job, item) for job, item in everything if item.state in states]
        candidates = everything if pick % 7 == 6 or not fitting else fitting
        return candidates[pick // 7 % len(candidates)]

    def fenced(self, pick: int, stale: int, *states: str) -> tuple[ModelJob, Try, Ticket, bool]:
        """Give an attempt, a ticket for it, and whether that is good for a move from these states."""
        job, item = self.choose(pick, *states)
        lease = max(0, item.lease - stale)
        good = item.state in states and lease == item.lease
        return job, item, Ticket(job.job_id, item.number, lease), good

    def choose_job(self, pick: int) -> ModelJob:
        """Give any job."""
        return list(self.model.values())[pick % len(self.model)]

    def batch_of(self, key: str) -> ModelBatch | None:
        """Give the batch that an idempotency key has made or makes."""
        return next((item for item in self.batches.values() if item.key == key and item.status != "dropped"), None)

    def goes_to_the_end(self, job: ModelJob) -> None:
        """Give a job a new place in the line."""
        self.order += 1
        job.order = self.order

    @invariant()
    def nothing_is_lost_or_leaked(self) -> None:
        """Hold the store against its own rules and against the model."""
        cell = Cell.read(self.client)
        assert broken_rules(cell) == []
        assert immortal_keys(cell) == []
        assert set(cell.staged) == {job_id for batch in self.batches.values() for job_id in batch.staged}
        assert {job_id: _shown(record) for job_id, record in cell.accepted.items()} == {
            job.job_id: _expected(job) for job in self.model.values()
        }
        assert {batch_id: _shown_batch(record) for batch_id, record in cell.under("batch:")} == {
            batch.batch_id: _expected_batch(batch) for batch in self.batches.values()
        }
        assert {item.member: _shown_try(item.record) for item in cell.attempts} == {
            f"{job.job_id}:{item.number}": _expected_try(item)
            for job in self.model.values()
            for item in job.tries.values()
            if item.lease
        }
        told: dict[str, Counter[str]] = {}
        for _, event in cell.under("event:"):
            told.setdefault(event["job"], Counter())[event["type"]] += 1
        for job in self.model.values():
            assert told.get(job.job_id, Counter()) == job.told
        for batch in self.batches.values():
            assert told.get(batch.batch_id, Counter())["batch.completed"] == batch.told

    def let_expire(self, job: ModelJob) -> None:
        """Do what Valkey does when a record's time is over."""
        self.client.delete(keys.job(job.job_id), *(keys.attempt(job.job_id, number) for number in job.tries))
        del self.model[job.job_id]
        if job.batch is not None:
            job.batch.jobs = {line: other for line, other in job.batch.jobs.items() if other is not job}


def _shown(record: dict[str, str]) -> tuple[object, ...]:
    late = [int(number) for number in record.get("late", "").split(",") if number]
    spent, submits = int(record.get("spent_images", 0)), int(record.get("submits", 0))
    return record["status"], int(record["attempt"]), spent, submits, "cancel_requested_ms" in record, late


def _expected(job: ModelJob) -> tuple[object, ...]:
    return job.status, job.attempt, job.spent, job.submits, job.cancel_requested, job.late


def _shown_try(record: dict[str, str]) -> tuple[object, ...]:
    duplicates = [item for item in record.get("duplicates", "").split(",") if item]
    lease, sends = int(record["lease"]), int(record.get("sends", 0))
    return record.get("state", ""), lease, sends, record.get("prediction_id", ""), duplicates


def _expected_try(item: Try) -> tuple[object, ...]:
    return item.state, item.lease, item.sends, item.prediction, item.duplicates


def _shown_batch(record: dict[str, str]) -> tuple[object, ...]:
    sweeps = {name.removesuffix("_line"): int(line) for name, line in record.items() if name.endswith("_line")}
    last_line = sweeps.pop("last")
    retried = Counter({name[6:]: int(count) for name, count in record.items() if _counts_retried(name)})
    return record["status"], last_line, sweeps, retried, int(record.get("lease", 0)), "manifest" in record


def _counts_retried(name: str) -> bool:
    return name.startswith("retry_") and name not in ("retry_line", "retry_include")


def _expected_batch(batch: ModelBatch) -> tuple[object, ...]:
    return batch.status, batch.last_line, batch.sweeps, batch.retried, batch.lease, batch.written
