"""Rules of the state machine about batches: uploads that break off, and sweeps that go a slice at a time."""

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import precondition, rule

from darkroom.jobs import DEFAULT_EVENTS, JobRequest, Priority, Webhook
from darkroom.store import keys
from darkroom.store.batch_ids import batch_job_id
from darkroom.store.jobs import BudgetError, ConflictError, LineFullError
from darkroom.store.uploads import MOST_UPLOADS, BatchGoneError, Line, TooManyUploadsError
from tests.property.batch_model import PLACES, ModelBatch
from tests.property.machine import HOUR_MS
from tests.property.model import ModelJob
from tests.property.moves import Moves, picks, webhooks

SWEEPS = ("list", "cancel", "retry", "retire", "drop")
URL = "https://example.com/batches"

Posted = tuple[int, Priority, Webhook | None, int | None]
lines: st.SearchStrategy[list[Posted]] = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 2, 4]),
        st.sampled_from(["normal", "normal", "high"]),
        webhooks,
        st.sampled_from([None, None, 60]),
    ),
    min_size=1,
    max_size=3,
)
batch_webhooks = st.sampled_from(
    [
        None,
        Webhook(url=URL),
        Webhook(url=URL, events=["batch.completed", "job.failed"]),
        Webhook(url=URL, events=["job.canceled"]),
    ]
)
tenants = st.sampled_from(["a", "a", "b-1"])
slice_sizes = st.sampled_from([0, 1, 2, 99])
codes = st.sampled_from(["upstream_failed", "submit_unconfirmed", "canceled", "expired"])


class BatchMoves(Moves):
    """What uploaders, owners of batches and the sweeps of workers do."""

    @rule(
        tenant=tenants, key=st.sampled_from([None, "k1", "k2"]), webhook=batch_webhooks, room=st.sampled_from([99, 2])
    )
    def begin_upload(self, tenant: str, key: str | None, webhook: Webhook | None, room: int) -> None:
        self._begin("a" if key else tenant, key, webhook, room)

    def _begin(self, tenant: str, key: str | None, webhook: Webhook | None, room: int) -> ModelBatch | None:
        before = self.batch_of(key) if key else None
        expected = self._begins(tenant, key, before, room)
        if before is not None and before.status == "accepting" and before.silent:
            before.drop()  # whatever comes of this one
        begin = self.upload_store.begin(tenant, webhook=webhook, metadata={}, idempotency_key=key, max_queued=room)
        try:
            begun = self.run(begin)
        except ConflictError:
            assert expected == "mismatch"
        except TooManyUploadsError:
            assert expected == "many"
        except LineFullError:
            assert expected == "full"
        else:
            assert begun.kind == expected
            if begun.kind == "begun":
                wanted = frozenset() if webhook is None else frozenset(webhook.events or ["batch.completed"])
                batch = ModelBatch(begun.batch_id, tenant, self.order, key, wanted)
                self.order += PLACES
                self.batches[begun.batch_id] = batch
                return batch
            assert begun.kind == "in_progress" or (before is not None and begun.batch_id == before.batch_id)
        return None

    def _begins(self, tenant: str, key: str | None, before: ModelBatch | None, room: int) -> str:
        if key in self.once:
            return "mismatch"
        if before is not None and before.linked:
            return "replayed"
        if before is not None and not before.silent:
            return "in_progress"
        if self._waiting(tenant) >= room:
            return "full"
        alive = sum(self._lives(batch) and batch.tenant == tenant for batch in self.batches.values())
        return "many" if alive >= MOST_UPLOADS else "begun"

    def _waiting(self, tenant: str) -> int:
        return sum(job.waiting and job.tenant == tenant for job in self.model.values())

    def _lives(self, batch: ModelBatch) -> bool:
        return batch.status == "accepting" and not batch.silent

    @precondition(lambda self: self.uploads())
    @rule(pick=picks, posted=lines, blank=st.sampled_from([0, 0, 1]))
    def stage(self, pick: int, posted: list[Posted], blank: int) -> None:
        """Some more lines arrive, perhaps after a blank one; or too late."""
        self._stage(self._choose_batch(pick, "accepting"), posted, blank)

    def _stage(self, batch: ModelBatch, posted: list[Posted], blank: int) -> None:
        first = batch.last_line + 1 + blank
        staged = [self._line(batch, number, one) for number, one in enumerate(posted, first)]
        try:
            self.run(self.upload_store.stage(batch.batch_id, [line for line, _ in staged]))
        except BatchGoneError:
            assert batch.status != "accepting"
            return
        assert batch.status == "accepting"
        for line, job in staged:
            batch.stage(line.number, job)

    def _line(self, batch: ModelBatch, number: int, posted: Posted) -> tuple[Line, ModelJob]:
        images, priority, webhook, expires_in = posted
        request = JobRequest(
            prompt="ein Fuchs", max_images=images, priority=priority, webhook=webhook, expires_in=expires_in
        )
        wanted = frozenset(webhook.events or DEFAULT_EVENTS) if webhook else batch.wanted
        job_id, place = batch_job_id(batch.batch_id, number), batch.first_place + number
        return Line.of(number, request), ModelJob(
            job_id, batch.tenant, images, priority, wanted, expires_in is not None, place
        )

    @precondition(lambda self: self.uploads())
    @rule(pick=picks)
    def hear_uploader(self, pick: int) -> None:
        batch = self._choose_batch(pick, "accepting")
        if batch.status == "accepting":
            self.run(self.upload_store.hear(batch.batch_id))
            batch.silent = False
            return
        with pytest.raises(BatchGoneError):
            self.run(self.upload_store.hear(batch.batch_id))

    @precondition(lambda self: self.uploads())
    @rule(pick=picks)
    def uploader_falls_silent(self, pick: int) -> None:
        batch = self._choose_batch(pick, "accepting")
        if batch.status == "accepting":
            self.client.hset(keys.batch(batch.batch_id), "silent_ms", 1)
            self.client.zadd(keys.uploads(batch.tenant), {batch.batch_id: 1}, xx=True)
            batch.silent = True

    @precondition(lambda self: self.uploads())
    @rule(pick=picks)
    def give_up_upload(self, pick: int) -> None:
        """An upload is refused, and whoever would remove what is staged dies just then."""
        batch = self._choose_batch(pick, "accepting")
        dropped = self.run(self.batch_store.scripts.call("drop_batch", batch.batch_id))
        assert int(dropped) == int(batch.status == "accepting")
        if batch.status == "accepting":
            batch.drop()

    @precondition(lambda self: self.uploads())
    @rule(pick=picks, room=st.sampled_from([99, 99, 3]), refuse=st.booleans())
    def link(self, pick: int, room: int, refuse: bool) -> None:
        self._link(self._choose_batch(pick, "accepting"), room, refuse=refuse)

    def _link(self, batch: ModelBatch, room: int, *, refuse: bool) -> None:
        expected = self._links(batch, room, refuse=refuse)
        link = self.upload_store.link(batch.batch_id, fingerprint="f", max_queued=room, refuse_over_budget=refuse)
        try:
            self.run(link)
        except BatchGoneError:
            assert expected == "gone"
        except LineFullError:
            assert expected == "full"
        except BudgetError as error:
            when = "ever" if error.resets_in_s is None else "today"
            assert (batch.linked, when) == (False, expected)
        else:
            assert expected == "linked"
            if not batch.linked:
                batch.link()
                self.model.update((job.job_id, job) for job in batch.jobs.values())

    def _links(self, batch: ModelBatch, room: int, *, refuse: bool) -> str:
        jobs, cap, batch_cap = batch.jobs.values(), self.cap_of(batch.tenant), self.caps.get(":batch")
        if batch.linked:
            return "linked"
        if batch.status != "accepting" or not jobs:
            return "gone"
        if self._waiting(batch.tenant) + len(jobs) > room:
            return "full"
        images = sum(job.images for job in jobs)
        cost = images if refuse else max(job.images for job in jobs)
        if any(limit is not None and cost > limit for limit in (cap, batch_cap)):
            return "ever"
        ahead = sum(job.images for job in self.model.values() if job.waiting and job.tenant == batch.tenant)
        over = cap is not None and self.charged_today(batch.tenant) + ahead + images > cap
        return "today" if refuse and over else "linked"

    @rule(tenant=tenants, webhook=batch_webhooks, posted=lines, more=lines)
    def post_batch(self, tenant: str, webhook: Webhook | None, posted: list[Posted], more: list[Posted]) -> None:
        """Upload a batch whole."""
        batch = self._begin(tenant, None, webhook, 99)
        if batch is not None:
            self._stage(batch, posted, 0)
            self._stage(batch, more, 1)
            self._link(batch, 99, refuse=False)

    @precondition(lambda self: self.batches)
    @rule(pick=picks, most=slice_sizes)
    def cancel_batch(self, pick: int, most: int) -> None:
        """Cancel, and perhaps die after the first slice."""
        batch = self._choose_batch(pick, "running")
        expected = batch.cancel(self.order)
        if expected == 1:
            self.run(self.batch_store.cancel(batch.batch_id))
            if most:
                self.slices(batch, "cancel", most=most)
            return
        with pytest.raises(KeyError if expected == -1 else ConflictError):
            self.run(self.batch_store.cancel(batch.batch_id))

    @precondition(lambda self: self.batches)
    @rule(pick=picks, include=st.sets(codes, max_size=3), most=slice_sizes)
    def retry_batch(self, pick: int, include: set[str], most: int) -> None:
        """Retry, and perhaps die after the first slice."""
        batch = self._choose_batch(pick, "running", "completed", "canceled")
        expected = batch.retry(frozenset(include))
        if expected == 1:
            self.run(self.batch_store.retry(batch.batch_id, sorted(include)))
            if most:
                self.slices(batch, "retry", most=most)
            return
        with pytest.raises(KeyError if expected == -1 else ConflictError):
            self.run(self.batch_store.retry(batch.batch_id, sorted(include)))

    @precondition(lambda self: self.batches)
    @rule(
        pick=picks, sweep=st.sampled_from([None, None, None, *SWEEPS]), most=st.integers(1, 7), times=st.integers(1, 2)
    )
    def go_through(self, pick: int, sweep: str | None, most: int, times: int) -> None:
        """Somebody goes on with a sweep for a slice or two: one that is under way, or is long over."""
        under_way = [(batch, name) for batch in self.batches.values() for name in batch.sweeps]
        if sweep is None and under_way:
            batch, sweep = under_way[pick % len(under_way)]
        else:
            batch = self._choose_batch(pick)
        for _ in range(times):
            self.slices(batch, sweep or "drop", most=most)

    def slices(self, batch: ModelBatch, sweep: str, *, most: int) -> None:
        """Do one slice, and see whether it says rightly that more is to come."""
        if sweep == "drop" and batch.status == "accepting" and batch.silent:
            batch.drop()
        jobs = batch.slice_of(sweep, most) if sweep != "drop" or batch.status == "dropped" else None
        over = self.run(self.batch_store.scripts.call(f"sweep_{sweep}", batch.batch_id, most))
        assert int(over) == int(jobs is None or sweep not in batch.sweeps)
        for job in jobs or ():
            self._visit(batch, sweep, job)
        if sweep == "retry" and over:
            batch.close()
        if sweep == "drop" and batch.status == "dropped" and over:
            assert not batch.jobs
            self.batches.pop(batch.batch_id, None)

    def _visit(self, batch: ModelBatch, sweep: str, job: ModelJob) -> None:
        if sweep == "cancel":
            batch.sweep_cancel(job)
        if sweep == "retry" and batch.sweep_retry(job):
            self.goes_to_the_end(job)
        if sweep == "drop":
            batch.jobs = {line: other for line, other in batch.jobs.items() if other is not job}

    @precondition(lambda self: any(batch.to_write for batch in self.batches.values()))
    @rule(pick=picks, age=st.sampled_from([0, 0, 1]), between=st.sampled_from(["", "", "retry", "claim"]))
    def write_down(self, pick: int, age: int, between: str) -> None:
        """A worker writes down what became of a batch; meanwhile it may go on, or another worker may do the same."""
        ended = [batch for batch in self.batches.values() if batch.to_write]
        batch = ended[pick % len(ended)]
        lease = self._claim(batch)
        assert lease is not None
        if between == "retry":
            self._retry_all(batch)
        if between == "claim":
            assert self._claim(batch) is not None
        self._tell(batch, lease - age)

    @precondition(lambda self: self.batches)
    @rule(pick=picks, age=st.sampled_from([0, 0, 1]))
    def tell(self, pick: int, age: int) -> None:
        """Whoever had claimed a batch some time ago says that it is written down."""
        batch = self._choose_batch(pick)
        self._tell(batch, batch.lease - age)

    @precondition(lambda self: self.batches)
    @rule(pick=picks)
    def claim(self, pick: int) -> None:
        batch = self._choose_batch(pick, "completed", "canceled")
        assert (self._claim(batch) is not None) == batch.to_write

    def _retry_all(self, batch: ModelBatch) -> None:
        if batch.retry(frozenset({"canceled", "expired"})) == 1:
            self.run(self.batch_store.retry(batch.batch_id, ["canceled", "expired"]))
            self.slices(batch, "retry", most=99)

    def _claim(self, batch: ModelBatch) -> int | None:
        to_write = batch.to_write
        claimed = self.run(self.batch_store.claim_manifest(batch.batch_id, lease_ms=HOUR_MS))
        if claimed is None:
            return None
        batch.lease += int(to_write)
        assert (claimed[0], claimed[1].fields["status"]) == (batch.lease, batch.status)
        return claimed[0]

    def _tell(self, batch: ModelBatch, lease: int) -> None:
        told = self.run(self.batch_store.tell(batch.batch_id, lease, {"bucket": "b"}))
        assert told == batch.tell(lease)

    @precondition(lambda self: self.batches)
    @rule(pick=picks)
    def batch_is_over(self, pick: int) -> None:
        """An ended batch's record vanishes after those of its jobs; its key has gone long before."""
        batch = self._choose_batch(pick, "completed", "canceled")
        mortal = all(self.client.pttl(keys.job(job.job_id)) >= 0 for job in batch.jobs.values())
        if mortal and not batch.key and not batch.sweeps and self.client.pttl(keys.batch(batch.batch_id)) >= 0:
            for job in list(batch.jobs.values()):
                self.let_expire(job)
            self.client.delete(keys.batch(batch.batch_id))
            del self.batches[batch.batch_id]

    def uploads(self) -> bool:
        """Whether any upload is under way."""
        return any(batch.status == "accepting" for batch in self.batches.values())

    def has_timer(self, job: ModelJob) -> bool:
        """Whether a job has a deadline that its batch's listing, where it has one, has set already."""
        line = next((line for line, other in job.batch.jobs.items() if other is job), 0) if job.batch else 0
        return job.has_deadline and (job.batch is None or job.batch.listed(line))

    def _choose_batch(self, pick: int, *statuses: str) -> ModelBatch:
        """Give a batch in one of these statuses; one in seven times any batch."""
        everything = list(self.batches.values())
        fitting = [batch for batch in everything if batch.status in statuses]
        candidates = everything if pick % 7 == 6 or not fitting else fitting
        return candidates[pick // 7 % len(candidates)]
