"""Any sequence of moves, with tickets of any age, leaves the store whole: the scripts on a real Valkey against a model.

`DARKROOM_PROPERTY_EXAMPLES` and `DARKROOM_PROPERTY_STEPS` make the search longer than it is in `make test`.
"""

import os

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from darkroom.jobs import Webhook
from darkroom.line.lanes import DEFAULT_LANE, PauseReason
from darkroom.store import keys, uploads
from darkroom.store.attempts import Moved
from darkroom.store.compaction import compact
from darkroom.store.deliveries import host_of
from darkroom.store.jobs import ConflictError
from darkroom.store.view import job_view
from darkroom.timers import DueAttempt
from tests.property.batch_moves import BatchMoves, Posted, lines
from tests.property.machine import HOUR_MS
from tests.property.model import TERMINAL, ModelJob
from tests.property.moves import ages, picks, webhooks
from tests.support.cell import Cell
from tests.support.lifetimes import immortal_keys

EXAMPLES = int(os.environ.get("DARKROOM_PROPERTY_EXAMPLES", "45"))
STEPS = int(os.environ.get("DARKROOM_PROPERTY_STEPS", "40"))
DAY_MS = 24 * HOUR_MS
statuses = st.sampled_from(["delivered", "pending", "exhausted", "gone"])
ends = st.sampled_from(["completed", "completed", "failed", "failed", "unsettled", "canceled"])
heard = st.sampled_from(["up", "failed", "failed", ""])

small_limits = st.sampled_from([(20, 3), (4, 1), (8, 50)])


class Everything(BatchMoves):
    """Adds what time, operators and receivers of webhooks do."""

    @initialize(
        begun=st.lists(st.tuples(webhooks, st.integers(0, 5), st.booleans()), min_size=1, max_size=3),
        posted=st.none() | lines,
        ends=st.lists(ends, min_size=1, max_size=4),
        lost=st.booleans(),
    )
    def begin_in_the_middle(
        self, begun: list[tuple[Webhook | None, int, bool]], posted: list[Posted] | None, ends: list[str], lost: bool
    ) -> None:
        """Start with jobs that have gone some of their way, some canceled, and perhaps a batch; answers lost or not."""
        self.repeating.on = lost
        for pick, (webhook, steps, canceled) in enumerate(begun):
            self.enqueue("a", 2, "normal", webhook, None, 1000)
            self.advance(pick, steps)
            if canceled:
                self.cancel(pick)
        if posted is not None:
            self.post_batch("b-1", None, posted, posted)
            self.jobs_of_a_batch_end(0, ends)

    @precondition(lambda self: self.model)
    @rule(pick=picks, steps=st.integers(1, 5))
    def advance(self, pick: int, steps: int) -> None:
        """Let a job go its ordinary way for a while, so that deep states are not rare."""
        job = self.choose_job(pick)
        for _ in range(steps):
            self.target = job
            self._step(job)
            self.target = None

    @precondition(lambda self: any(batch.status == "running" for batch in self.batches.values()))
    @rule(pick=picks, ends=st.lists(ends, min_size=1, max_size=6))
    def jobs_of_a_batch_end(self, pick: int, ends: list[str]) -> None:
        """Let jobs of a batch come to their ends, so that an ended batch is not rare."""
        running = [batch for batch in self.batches.values() if batch.status == "running"]
        going_on = [job for job in running[pick % len(running)].jobs.values() if job.status not in TERMINAL]
        for job, end in zip(going_on, ends, strict=False):
            self.target = job
            self._come_to(job, end)
            self.target = None

    def _come_to(self, job: ModelJob, end: str) -> None:
        """Go on from anywhere until the job has ended, or could not in so many steps."""
        for _ in range(6):
            if job.status in TERMINAL:
                return
            match end, job.current.state:
                case "canceled", _:
                    self.cancel(list(self.model.values()).index(job))
                    return
                case "failed", "generating":
                    self.failed(0, 0, 0, False)
                case "unsettled", "submitting":
                    self.unknown(0, 0)
                case "unsettled", "unconfirmed":
                    self.failed(0, 0, 0, True)
                case _:
                    self._step(job)

    def _step(self, job: ModelJob) -> None:
        match job.current.state:
            case "" | "queued" if job.waiting and job.canceled_with_batch:
                self.slices(job.batch, "cancel", most=100)
                assert job.status == "canceled"
            case "" | "queued" if job.waiting:
                self.lift_budgets()
                self.resume()
                self.change_limits((5000, 500))
                self.window_passes()
                self.admit(100, 5000)
                assert not job.waiting
            case "admitted":
                self.begin_submit(0, 0)
            case "submitting" | "unconfirmed":
                self.accepted(0, 0, 1, False)
            case "generating":
                self.hand_over(0, 0)
            case "storing":
                self.complete(0, 0)

    @rule(
        images=st.lists(st.sampled_from([1, 1, 3, 5]), min_size=2, max_size=5), limits=small_limits, again=st.booleans()
    )
    def burst(self, images: list[int], limits: tuple[int, int], again: bool) -> None:
        """More arrives than the account allows, and dispatchers are eager."""
        for count in images:
            self.enqueue("b-1", count, "high", None, None, 1000)
        self.change_limits(limits)
        self.window_passes()
        self.admit(5, 5000)
        if again and self.has("admitted"):
            self.begin_submit(0, 0)
            self.client.hdel(keys.lane(DEFAULT_LANE), "spaced_ms")
            self.admit(5, 5000)

    @rule(lost=st.booleans())
    def answers_get_lost(self, lost: bool) -> None:
        """From now on every call is repeated by the connection, or no longer."""
        self.repeating.on = lost

    @rule(limits=small_limits)
    def change_limits(self, limits: tuple[int, int]) -> None:
        self.limits = limits
        self.configure()

    @rule()
    def window_passes(self) -> None:
        """What was sent more than a minute ago no longer counts."""
        sends = keys.sends(DEFAULT_LANE)
        cell = Cell.read(self.client)
        open_ = {item.record["send_ref"] for item in cell.attempts if item.state in ("admitted", "submitting")}
        for ref in cell.at(sends):
            if ref not in open_:
                self.client.zadd(sends, {ref: 1})
        self.client.hdel(keys.lane(DEFAULT_LANE), "spaced_ms", "not_before_ms")

    @precondition(lambda self: self.has("unconfirmed"))
    @rule(pick=picks)
    def slot_lapses(self, pick: int) -> None:
        job, item = self.choose(pick, "unconfirmed")
        if item.state == "unconfirmed":
            self.client.zadd(keys.slots(DEFAULT_LANE), {f"{job.job_id}:{item.number}": 1}, xx=True)

    @precondition(lambda self: any(job.waiting and self.has_timer(job) for job in self.model.values()))
    @rule(pick=picks)
    def deadline_passes(self, pick: int) -> None:
        waiting = [job for job in self.model.values() if job.waiting and self.has_timer(job)]
        job = waiting[pick % len(waiting)]
        self.client.hincrby(keys.job(job.job_id), "queued_ms", -DAY_MS)
        job.deadline_passed = True

    @precondition(lambda self: self.model)
    @rule(pick=picks)
    def expire(self, pick: int) -> None:
        """A call for an expiry may come at any time; it decides by the record alone."""
        job = self.choose_job(pick)
        self.run(self.timers.expire([job.job_id]))
        self._expires(job.job_id)

    def _expires(self, job_id: str) -> None:
        job = self.model.get(job_id)
        if job is not None and job.waiting and job.has_deadline and job.deadline_passed:
            job.finish("expired")

    @precondition(lambda self: self.model)
    @rule(chosen=st.sets(picks, max_size=4), most=st.integers(1, 5), others=st.booleans())
    def sweep(self, chosen: set[int], most: int, others: bool) -> None:
        """Timers go off, and the poller of one worker or of two does what it does about them, nothing twice."""
        due = sorted(Cell.read(self.client).at(keys.DUE))
        for pick in chosen:
            if due:
                self.client.zadd(keys.DUE, {due[pick % len(due)]: 1})
        ready = self._due_now()
        leased = self.run(self.timers.lease_due(most=most, look_ms=HOUR_MS, message_ms=HOUR_MS, check_ms=HOUR_MS))
        assert leased.unknown == []
        assert leased.line_depth == sum(job.waiting for job in self.model.values())
        if others:
            again = self.run(self.timers.lease_due(most=100, look_ms=HOUR_MS, message_ms=HOUR_MS, check_ms=HOUR_MS))
            taken = {entry.ticket for entry in leased.attempts} | {item.delivery_id for item in leased.deliveries}
            assert not taken & {entry.ticket for entry in again.attempts}
            assert not taken & {item.delivery_id for item in again.deliveries}
            leased.attempts += again.attempts
            leased.deadlines += again.deadlines
            most += 100
        for entry in leased.attempts:
            self._act_on(entry)
        for job_id in leased.deadlines:
            self.run(self.timers.expire([job_id]))
            self._expires(job_id)
        assert self._due_now() == max(0, ready - most)

    def _due_now(self) -> int:
        return int(self.client.zcount(keys.DUE, "-inf", 1))

    def _act_on(self, entry: DueAttempt) -> None:
        job = self.model[entry.ticket.job_id]
        item = job.tries[entry.ticket.attempt]
        assert (entry.state, entry.ticket.lease, entry.current) == (item.state, item.lease, job.is_current(item))
        assert entry.prediction_id == item.prediction
        if entry.state == "admitted":
            self.run(self.attempts.unadmit([entry.ticket]))
            item.move("queued")
            job.queue_again()
        if entry.state == "submitting":
            moved = self.run(self.attempts.unknown(entry.ticket, look_in_ms=0, message="vanished"))
            assert moved == Moved.DONE
            item.move("unconfirmed")
            job.status = "unconfirmed"

    @rule(reason=st.sampled_from(["operator", "upstream"]))
    def pause(self, reason: PauseReason) -> None:
        self.run(self.lanes.pause(DEFAULT_LANE, reason, probe_s=60))
        self.paused = True

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self) -> None:
        self.run(self.lanes.resume(DEFAULT_LANE))
        self.paused = False
        self.suspects, self.blamed = set(), False

    @precondition(lambda self: any(job.told for job in self.model.values()))
    @rule(pick=picks, age=ages, status=statuses, heard=heard)
    def deliver(self, pick: int, age: int, status: str, heard: str) -> None:
        """A worker makes one attempt at a delivery, perhaps with an old message."""
        delivery_id, record = self._delivery(pick)
        lease = int(record["lease"]) - age
        waits = self.client.zscore(keys.host_queue(host_of(record["url"])), delivery_id) is not None
        claimed = self.run(self.deliveries.claim(delivery_id, str(lease), lease_ms=HOUR_MS))
        assert (claimed is not None) == (record["status"] == "pending" and age == 0 and not waits)
        if claimed is None:
            return
        assert claimed.event["job"] == record["job"]
        next_in_ms = 1000 if status == "pending" else None
        settled = self.deliveries.settle(claimed, status, next_in_ms=next_in_ms, attempts=[{"at_ms": 1}], heard=heard)
        assert self.run(settled)
        assert not self.run(self.deliveries.settle(claimed, "delivered", next_in_ms=None, attempts=[]))

    @precondition(lambda self: any(job.told for job in self.model.values()))
    @rule(pick=picks)
    def redeliver(self, pick: int) -> None:
        delivery_id, _ = self._delivery(pick)
        assert self.run(self.deliveries.redeliver(delivery_id))

    def _delivery(self, pick: int) -> tuple[str, dict[str, str]]:
        deliveries = sorted(Cell.read(self.client).under("delivery:"))
        return deliveries[pick % len(deliveries)]

    @precondition(lambda self: any(job.over for job in self.model.values()))
    @rule(pick=picks)
    def time_is_over(self, pick: int) -> None:
        """A finished job's record vanishes, and the indexes are trimmed of it."""
        over = [job for job in self.model.values() if job.over and self.client.pttl(keys.job(job.job_id)) >= 0]
        if not over:
            return
        job = over[pick % len(over)]
        self.let_expire(job)
        self._trim(job.tenant)

    def _trim(self, tenant: str) -> None:
        for _ in range(4):  # the four terminal statuses, a slice each
            timers = [name for name in Cell.read(self.client).due("t") if name.startswith(f"{tenant}:")]
            self.client.zadd(keys.DUE, {f"t:{name}": 0 for name in timers})
            self.run(self.timers.lease_due(most=1, look_ms=HOUR_MS, message_ms=HOUR_MS, check_ms=HOUR_MS))

    @precondition(lambda self: any(job.over for job in self.model.values()))
    @rule(pick=picks)
    def compact(self, pick: int) -> None:
        """A finished job shrinks if it may: it looks as it did, and nothing moves it. Then its time is over as well."""
        over = [job for job in self.model.values() if job.over]
        job = over[pick % len(over)]
        before = self.run(self.jobs.read(job.job_id))
        done = self.run(compact(self.jobs, [job.job_id]))
        after = self.run(self.jobs.read(job.job_id))
        assert before is not None
        assert after is not None
        assert job_view(after) == job_view(before)
        if not done:
            return
        assert job.status == "completed"
        for call in (self.jobs.cancel(job.job_id), self.jobs.retry(job.job_id)):
            with pytest.raises(ConflictError):
                self.run(call)
        assert immortal_keys(Cell.read(self.client)) == []
        self.client.delete(keys.compacted(job.job_id))
        job.told.clear()  # what told of it was delivered, and is gone with it
        self.let_expire(job)
        self._trim(job.tenant)


@pytest.mark.timeout(0 if EXAMPLES > 100 else 300)
def test_any_sequence_of_moves_leaves_the_store_whole(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis looks for a sequence that loses a job, leaks a slot, spends twice or tells an untruth."""
    monkeypatch.setattr(uploads, "SILENCE_MS", HOUR_MS)  # uploaders are silent where a rule says so, and not else
    machine = type("Everything", (Everything,), {"url": redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
