"""The rules of the state machine that are moves of jobs and attempts, with tickets of any age."""

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import precondition, rule

from darkroom.jobs import DEFAULT_EVENTS, JobError, JobRequest, Priority, Webhook
from darkroom.line.lanes import DEFAULT_LANE, Refusals
from darkroom.store import keys
from darkroom.store.attempts import Moved, TakenOver
from darkroom.store.callbacks import Called
from darkroom.store.jobs import BudgetError, ConflictError, LineFullError, ResolveAction
from darkroom.upstream.callback_tokens import SendName
from tests.property.budget_rules import BudgetRules
from tests.property.machine import HOUR_MS
from tests.property.model import LIVE, ModelJob, Try
from tests.support.cell import Cell

picks = st.integers(0, 999)
ages = st.sampled_from([0, 0, 0, 0, 1, 2])
webhooks = st.sampled_from(
    [
        None,
        Webhook(url="https://example.com/hook"),
        Webhook(url="https://example.com/hook", events=["job.completed"]),
        Webhook(url="https://example.com/hook", events=["job.outputs_late", "job.failed", "job.canceled"]),
    ]
)
ERROR = JobError(code="upstream_failed", message='ünlucky "quotes"', retryable=True)
UNSETTLED = JobError(code="submit_unconfirmed", message="nobody knows", retryable=False)


class Moves(BudgetRules):
    """Every move of a job or an attempt that the api and the workers can ask for."""

    @rule(
        tenant=st.sampled_from(["a", "b-1", "c_é"]),
        images=st.sampled_from([1, 1, 2, 4, 15]),
        priority=st.sampled_from(["low", "normal", "high"]),
        webhook=webhooks,
        expires_in=st.sampled_from([None, None, 60]),
        room=st.sampled_from([1000, 1000, 1000, 2]),
        refuse=st.booleans(),
    )
    def enqueue(
        self,
        tenant: str,
        images: int,
        priority: Priority,
        webhook: Webhook | None,
        expires_in: int | None,
        room: int,
        refuse: bool = False,
    ) -> None:
        request = JobRequest(
            prompt="ein Fuchs 🦊", max_images=images, priority=priority, webhook=webhook, expires_in=expires_in
        )
        waiting = sum(job.waiting and job.tenant == tenant for job in self.model.values())
        try:
            accepted = self.run(self.jobs.enqueue(tenant, request, max_queued=room, refuse_over_budget=refuse))
        except LineFullError:
            assert waiting >= room
            return
        except BudgetError as error:
            when = "ever" if error.resets_in_s is None else "today"
            assert (waiting < room, when) == (True, self.over_budget(tenant, images, refuse=refuse))
            return
        assert waiting < room
        assert self.over_budget(tenant, images, refuse=refuse) is None
        wanted = frozenset(webhook.events or DEFAULT_EVENTS) if webhook else frozenset()
        self.order += 1
        self.model[accepted.job_id] = ModelJob(
            accepted.job_id, tenant, images, priority, wanted, expires_in is not None, self.order
        )

    @rule(key=st.sampled_from(["k1", "k2"]), images=st.sampled_from([1, 2]))
    def enqueue_once(self, key: str, images: int) -> None:
        first = self.once.get(key)
        try:
            accepted = self.run(
                self.jobs.enqueue("a", JobRequest(prompt="once", max_images=images), idempotency_key=key)
            )
        except ConflictError:
            assert self.batch_of(key) is not None or (first is not None and first[1] != images)
            return
        assert self.batch_of(key) is None
        assert accepted.replayed == (first is not None)
        if first is not None:
            assert first == (accepted.job_id, images)
            return
        self.once[key] = (accepted.job_id, images)
        self.order += 1
        job = ModelJob(accepted.job_id, "a", images, "normal", frozenset(), False, self.order)
        self.model[job.job_id] = job

    @precondition(lambda self: self.model)
    @rule(most=st.integers(1, 5), unstored=st.sampled_from([5000, 5000, 1]))
    def admit(self, most: int, unstored: int) -> None:
        rate, concurrency = self.limits
        before = Cell.read(self.client)
        admission = self.run(self.line.admit(DEFAULT_LANE, most=most, lease_ms=HOUR_MS, max_unstored=unstored))
        if self.paused:
            assert (admission.reason, admission.tickets) == ("paused", [])
        passed_over = self._ended_at_their_turn()
        for ticket in admission.tickets:
            job = self.model[ticket.job_id]
            for other in [other for other in passed_over if _goes_before(other, job)]:
                passed_over.remove(other)
                self._ends_at_its_turn(other)
            self._holds_its_turn(job)
            job.current.move("admitted")
            assert (ticket.attempt, ticket.lease) == (job.attempt, job.current.lease)
        for other in passed_over:
            self._ends_at_its_turn(other)
        self.keeps_to_budgets(
            [self.model[ticket.job_id] for ticket in admission.tickets], empty=admission.reason == "empty"
        )
        if not admission.tickets:
            return
        cell = Cell.read(self.client)
        assert len(cell.at(keys.slots(DEFAULT_LANE))) <= concurrency
        assert int(before.at(keys.DEPTH).get("*|unstored", 0)) < unstored
        used = int(cell.at(keys.lane(DEFAULT_LANE))["used"])
        alone = len(cell.at(keys.sends(DEFAULT_LANE))) == 1
        assert used <= rate or alone

    def _holds_its_turn(self, job: ModelJob) -> None:
        assert job.waiting
        ahead = [other for other in self.model.values() if other.waiting and _goes_before(other, job)]
        held = Cell.read(self.client).at(keys.HELD_BATCHES) if ahead else {}
        assert [other for other in ahead if _same_flow(other, job) or _in_rotation(other, held)] == []

    def _ended_at_their_turn(self) -> list[ModelJob]:
        """Give the waiting jobs that have ended now, in the order of their turns."""
        jobs = Cell.read(self.client).jobs
        ended = [job for job in self.model.values() if job.waiting and jobs[job.job_id]["status"] != "queued"]
        return sorted((job for job in ended if jobs[job.job_id]["status"] in ("failed", "canceled")), key=_place)

    def _ends_at_its_turn(self, job: ModelJob) -> None:
        """See what was waiting end instead of being sent: canceled with its batch, or dearer than a whole budget."""
        self._holds_its_turn(job)
        if job.canceled_with_batch:
            job.finish("canceled")
            return
        assert self.dearer_than_a_budget(job)
        job.finish("failed", "exceeds_budget")

    @precondition(lambda self: self.has("admitted"))
    @rule(pick=picks, stale=ages)
    def unadmit(self, pick: int, stale: int) -> None:
        job, item, ticket, good = self.fenced(pick, stale, "admitted")
        self.run(self.attempts.unadmit([ticket]))
        if good:
            item.move("queued")
            job.queue_again()

    @precondition(lambda self: self.has("admitted"))
    @rule(pick=picks, stale=ages)
    def begin_submit(self, pick: int, stale: int) -> None:
        job, item, ticket, good = self.fenced(pick, stale, "admitted")
        self.intents += 1
        intent = self.run(
            self.attempts.begin_submit(
                ticket, lease_ms=HOUR_MS, sync_lease_ms=HOUR_MS, key="k", mark=f"worker-{self.intents}"
            )
        )
        assert (intent is not None) == (good and not self.paused and not job.canceled_with_batch)
        if intent is not None:
            item.state = job.status = "submitting"
            item.sends += 1
            item.called = False
            job.submits += 1
            job.spent += job.images
            assert intent.send == item.sends
            assert intent.request.max_images == job.images
        elif good:
            item.state = "queued"
            job.queue_again()

    @precondition(lambda self: self.has(*LIVE))
    @rule(pick=picks, age=ages, known=picks, adopted=st.sampled_from([False, False, True]))
    def accepted(self, pick: int, age: int, known: int, adopted: bool) -> None:
        wanted = ("unconfirmed",) if adopted else ("submitting", "unconfirmed", "failed")
        job, item, ticket, _ = self.fenced(pick, 0, *wanted)
        old = list(self.owners)
        prediction = old[known % len(old)] if old and known % 5 == 0 else f"p{len(old)}"
        send = max(0, item.sends - age)
        expected = self._accepts(job, item, send, prediction, adopted=adopted)
        moved = self.run(
            self.attempts.accepted(ticket, send=send, prediction_id=prediction, look_in_ms=2000, adopted=adopted)
        )
        assert moved == expected

    def _accepts(self, job: ModelJob, item: Try, send: int, prediction: str, *, adopted: bool) -> Moved:
        """Do on the model what recording a prediction does, and give the answer that is due."""
        owner, concluded = self._owner(prediction), item.prediction if item.only_concluded else None
        if prediction in self.owners and owner is None:  # its owner's record has expired, the ownership has not
            moved = Moved.FOREIGN if item.state else Moved.STALE
        else:
            moved = Moved(job.accepted(item, send, prediction, owner, adopted=adopted))
        if moved in (Moved.DONE, Moved.DUPLICATE):
            self.owners[prediction] = (job.job_id, item.number)
        if moved == Moved.DONE and concluded is not None:
            del self.owners[concluded]  # another's, whose sweep finds it now
        elif moved == Moved.DONE:
            self.suspects, self.blamed = set(), False
        return moved

    def _owner(self, prediction: str) -> tuple[ModelJob, Try] | None:
        job_id, number = self.owners.get(prediction, ("", 0))
        job = self.model.get(job_id)
        return (job, job.tries[number]) if job else None

    @precondition(lambda self: self.has("submitting", "unconfirmed"))
    @rule(pick=picks, stale=ages, why=st.sampled_from(["never_left", "not_now", "absent"]))
    def returned(self, pick: int, stale: int, why: str) -> None:
        state = "unconfirmed" if why == "absent" else "submitting"
        job, item, ticket, good = self.fenced(pick, stale, state)
        moved = self.run(self.attempts.returned(ticket, why))
        assert moved == (job.returned(item, absent=why == "absent") if good else Moved.STALE)

    @precondition(lambda self: self.has("submitting"))
    @rule(pick=picks, age=ages)
    def refused(self, pick: int, age: int) -> None:
        job, item, ticket, _ = self.fenced(pick, 0, "submitting")
        send = max(0, item.sends - age)
        expected = Refusals(0, meets_others=False)
        if item.state == "submitting" and send == item.sends:
            self.suspects |= {job.job_id} if len(self.suspects) < 3 else set()
            together = len(self.suspects) >= 3
            if item.refused_send != send and not (together and self.blamed):
                item.refusals, item.refused_send, self.blamed = item.refusals + 1, send, together
            expected = Refusals(item.refusals, meets_others=together and not self.paused)
        assert self.run(self.lanes.count_refusal(DEFAULT_LANE, ticket, send=send)) == expected

    @precondition(lambda self: self.has("submitting"))
    @rule(pick=picks, stale=ages)
    def unknown(self, pick: int, stale: int) -> None:
        job, item, ticket, good = self.fenced(pick, stale, "submitting")
        moved = self.run(self.attempts.unknown(ticket, look_in_ms=1000, message="läst"))
        assert moved == (Moved.DONE if good else Moved.STALE)
        if good:
            item.move("unconfirmed")
            item.listings = 0
            job.status = "unconfirmed"

    @precondition(lambda self: self.has("unconfirmed"))
    @rule(pick=picks, stale=ages, listing=st.sampled_from(["one", "two"]), early=st.booleans())
    def absent(self, pick: int, stale: int, listing: str, early: bool) -> None:
        _, item, ticket, good = self.fenced(pick, stale, "unconfirmed")
        began_ms = 0 if early else 1 << 42
        absence = self.run(self.attempts.absent(ticket, look_in_ms=1000, mark=listing, began_ms=began_ms))
        assert (absence is not None) == good
        if absence is not None:
            if not early and item.listing != listing:
                item.listing = listing
                item.listings += 1
            assert (absence.listings, absence.absent_before) == (item.listings, item.absent)

    @precondition(lambda self: self.has("generating"))
    @rule(pick=picks, stale=ages)
    def hand_over(self, pick: int, stale: int) -> None:
        job, item, ticket, good = self.fenced(pick, stale, "generating")
        repeated = item.state == "storing" and ticket.lease == item.lease - 1
        handed = self.run(self.attempts.hand_over(ticket, sources="[]", inference_ms=None, polls=3, wait_ms=1000))
        assert (handed is not None) == (good or repeated)
        if good:
            item.move("storing")
            item.asked = False
        if handed is not None:
            assert handed.lease == item.lease
        if good:
            job.status = "storing" if job.is_current(item) else job.status

    @precondition(lambda self: self.model)
    @rule(pick=picks, known=picks)
    def take_over(self, pick: int, known: int) -> None:
        """A failover has lost what told of a prediction; whoever waits for the same gets it."""
        job = self.choose_job(pick)
        old = list(self.owners)
        prediction = old[known % len(old)] if old and known % 5 == 0 else f"p{len(old)}"
        expected = self._takes_over(job, prediction)
        became = self.run(
            self.attempts.take_over(
                job.job_id,
                prediction_id=prediction,
                lane=DEFAULT_LANE,
                created_ms=1_700_000_000_000,
                look_in_ms=HOUR_MS,
            )
        )
        assert became == expected

    def _takes_over(self, job: ModelJob, prediction: str) -> TakenOver:
        """Do on the model what taking over does, and give the answer that is due."""
        owner = self._owner(prediction)
        if prediction in self.owners and owner is None:  # its owner's record has expired, the ownership has not
            return TakenOver.FOREIGN
        became = TakenOver(job.take_over(prediction, owner))
        if became is TakenOver.DONE:
            self.owners[prediction] = (job.job_id, job.attempt)
        return became

    @precondition(lambda self: self.model)
    @rule(pick=picks, age=ages, known=picks, own=st.booleans())
    def called_back(self, pick: int, age: int, known: int, own: bool) -> None:
        """Upstream calls back about any send, of the prediction that is known or of another one."""
        job, item = self.choose(pick, "submitting", "unconfirmed", "generating")
        old = list(self.owners)
        prediction = old[known % len(old)] if old and known % 5 == 0 else f"p{len(old)}"
        prediction = item.prediction if own and item.prediction else prediction
        send = max(0, item.sends - age)
        expected = self._accepts(job, item, send, prediction, adopted=False)
        looks = bool(item.state) and item.called_back(prediction)
        taken_over = self._takes_over(job, prediction) if expected is Moved.STALE else None
        name = SendName(job.job_id, item.number, send)
        assert self.run(self.callbacks.take(name, prediction)) == Called(expected, looks, taken_over)

    @precondition(lambda self: self.has("generating"))
    @rule(pick=picks, stale=ages)
    def resumed(self, pick: int, stale: int) -> None:
        _, item, ticket, good = self.fenced(pick, stale, "generating")
        assert self.run(self.attempts.resumed(ticket)) == (Moved.DONE if good else Moved.STALE)
        item.asked = item.asked and not good

    @precondition(lambda self: any(job.error == "submit_unconfirmed" for job in self.model.values()))
    @rule(pick=picks, action=st.sampled_from(["adopt", "resubmit", "give_up"]), known=picks)
    def resolve(self, pick: int, action: ResolveAction, known: int) -> None:
        left_open = [job for job in self.model.values() if job.error == "submit_unconfirmed"]
        job = left_open[pick // 7 % len(left_open)] if pick % 7 else self.choose_job(pick)
        old = list(self.owners)
        prediction = old[known % len(old)] if old and known % 5 == 0 else f"p{len(old)}"
        owner = self._owner(prediction)
        owned = prediction in self.owners and not (owner and owner[1] is job.current)
        expected = job.resolve(action, prediction, owned=owned)
        if expected < 0:
            with pytest.raises(ConflictError) as refused:
                self.run(self.jobs.resolve(job.job_id, action, prediction_id=prediction, by="ops"))
            assert (
                refused.value.code == {-2: "nothing_to_resolve", -3: "prediction_owned", -4: "job_canceled"}[expected]
            )
            return
        self.run(self.jobs.resolve(job.job_id, action, prediction_id=prediction, by="ops"))
        if action == "adopt":
            self.owners[prediction] = (job.job_id, job.attempt)
        if action == "resubmit":
            self.goes_to_the_end(job)

    @precondition(lambda self: self.has("storing"))
    @rule(pick=picks, stale=ages, twice=st.booleans())
    def claim_store(self, pick: int, stale: int, twice: bool) -> None:
        job, item, ticket, good = self.fenced(pick, stale, "storing")
        claim = self.run(self.attempts.claim_store(ticket, lease_ms=HOUR_MS))
        assert (claim is not None) == good
        if claim is not None:
            item.lease += 1
            assert claim.ticket.lease == item.lease
            assert (claim.record.tenant, claim.record.attempt["sources"]) == (job.tenant, "[]")
            assert not twice or self.run(self.attempts.claim_store(ticket, lease_ms=HOUR_MS)) is None

    @precondition(lambda self: self.has("storing"))
    @rule(pick=picks, stale=ages, later=st.booleans())
    def store_something(self, pick: int, stale: int, later: bool) -> None:
        _, item, ticket, good = self.fenced(pick, stale, "storing")
        if later:
            moved = self.run(self.attempts.store_later(ticket, delay_ms=1000, message="full"))
            item.lease += int(good)
        else:
            moved = self.run(self.attempts.save_output(ticket, 0, '{"index": 0}'))
        assert moved == (Moved.DONE if good else Moved.STALE)

    @precondition(lambda self: self.has("storing"))
    @rule(pick=picks, stale=ages)
    def complete(self, pick: int, stale: int) -> None:
        job, item, ticket, good = self.fenced(pick, stale, "storing")
        repeated = item.state == "done" and ticket.lease == item.lease - 1
        moved = self.run(self.attempts.complete(ticket, delivered=1, finished_ms=1_700_000_000_000))
        assert moved == (job.completed(item) if good else item.done_as if repeated else Moved.STALE)

    @precondition(lambda self: self.has(*LIVE))
    @rule(pick=picks, stale=ages, most=st.sampled_from([0, 2, 3]), unsettled=st.booleans())
    def failed(self, pick: int, stale: int, most: int, unsettled: bool) -> None:
        job, item, ticket, good = self.fenced(pick, stale, "submitting", "unconfirmed", "generating", "storing")
        asked = item.asked and item.state == "generating"
        error = UNSETTLED if item.state == "unconfirmed" and unsettled else ERROR
        nothing = item.state == "submitting" or (item.state == "unconfirmed" and not unsettled and most > 0)
        moved = self.run(self.attempts.failed(ticket, error, created_nothing=nothing, max_attempts=most))
        expected = Moved.STALE
        if good:
            expected = Moved(job.failed(item, created_nothing=nothing, most=most, error=error.code))
        assert moved == expected
        if moved == Moved.OTHER and asked:  # a retry's new attempt waits at the end of the line
            self.goes_to_the_end(job)

    @precondition(lambda self: self.has("generating"))
    @rule(pick=picks, stale=ages)
    def time_out(self, pick: int, stale: int) -> None:
        job, item, ticket, good = self.fenced(pick, stale, "generating")
        moved = self.run(self.attempts.time_out(ticket, ERROR))
        if not good:
            assert moved == Moved.STALE
        elif job.is_current(item):
            assert moved == Moved.DONE
            job.finish("failed", ERROR.code)
        else:
            assert moved == Moved.NOTHING

    @precondition(lambda self: self.model)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        job = self.choose_job(pick)
        expected = job.cancel()
        try:
            at_once = self.run(self.jobs.cancel(job.job_id))
        except ConflictError:
            assert expected == -2
        else:
            assert expected == (1 if at_once else 2)

    @precondition(lambda self: any(job.status in ("failed", "canceled", "expired") for job in self.model.values()))
    @rule(pick=picks, fresh=st.sampled_from([False, False, True]))
    def retry(self, pick: int, fresh: bool) -> None:
        ended = [job for job in self.model.values() if job.status in ("failed", "canceled", "expired")]
        job = ended[pick // 7 % len(ended)] if pick % 7 else self.choose_job(pick)
        expected = job.retry(fresh=fresh)
        if expected < 0:
            with pytest.raises(ConflictError) as refused:
                self.run(self.jobs.retry(job.job_id, fresh=fresh))
            assert refused.value.code == {-2: "not_retryable", -3: "submit_unconfirmed"}[expected]
            return
        assert self.run(self.jobs.retry(job.job_id, fresh=fresh)).resumed == (expected == 3)
        if expected == 1 or job.batch is not None:
            self.goes_to_the_end(job)


def _place(job: ModelJob) -> tuple[int, int]:
    return ("high", "normal", "low").index(job.priority), job.order


def _same_flow(one: ModelJob, other: ModelJob) -> bool:
    return (one.tenant, one.priority, one.batch) == (other.tenant, other.priority, other.batch)


def _goes_before(one: ModelJob, other: ModelJob) -> bool:
    """Whether a tenant sends one job before another; flows of one priority take turns."""
    more_urgent = _place(one)[0] < _place(other)[0]
    return one.tenant == other.tenant and (more_urgent or (_same_flow(one, other) and one.order < other.order))


def _in_rotation(job: ModelJob, held: dict[str, str]) -> bool:
    return not job.canceled_with_batch and (job.batch is None or job.batch.batch_id not in held)
