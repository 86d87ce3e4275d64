"""The poller: waits so that no worker has to. Leases what is due, looks at predictions, wakes the other stages.

It never dispatches, submits, stores or notifies by itself: it calls for a Celery task. Its sweeps are supervised: one
that fails is logged and counted, and the next one comes; if it can't go on at all, the worker goes down visibly.
"""

import asyncio
from dataclasses import dataclass

from redis.exceptions import ReadOnlyError

from darkroom.background import is_cancelled, run_for_good
from darkroom.checkpoints import Checkpoint, reach
from darkroom.store.attempts import Ticket
from darkroom.store.connection import UNAVAILABLE
from darkroom.telemetry.logs import get_logger
from darkroom.timers import Due, DueAttempt, Look
from darkroom.webhooks.schedule import patience_s
from worker.batch_sweeps import BatchSweeps
from worker.batching import Batcher
from worker.context import LOOKS_AT_ONCE, Context
from worker.stages.lane import pause_for_key, probe
from worker.stages.look import Again, GiveUp, HandOver, LookDecision, LookRules, TimeOut, decide
from worker.stages.reconcile import Reconciler
from worker.stages.server_change import check_server

LOOK_LEASE_MS = 5_000
MESSAGE_WAIT_MS = 60_000
"""How long work handed to a Celery queue may wait there before it is sent again whatever goes on."""

MESSAGE_CHECK_MS = 10_000
"""After how long it is sent again for the first time, unless others called for before it are just being begun."""

SWEEP_MOST = 500
SHORTEST_S, LONGEST_S = 0.02, 0.1
DISPATCH_EVERY_MS = 1_000
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look decided, to be applied under the attempt's fence."""

    entry: DueAttempt
    decision: LookDecision


class Poller:
    """One worker process' share in watching the due set."""

    def __init__(self, ctx: Context) -> None:
        upstream = ctx.settings.upstream
        self._ctx = ctx
        self._rules = LookRules(
            poll_min_ms=int(upstream.poll_min_s * 1000),
            poll_max_ms=int(upstream.poll_max_s * 1000),
            timeout_ms=int(upstream.generation_timeout_s * 1000),
            max_attempts=upstream.max_attempts,
            key=ctx.upstream.key_fingerprint,
        )
        self._patience_ms = int(patience_s(ctx.settings.webhooks.retry_schedule_s) * 1000)
        self._looked = Batcher[Looked]("looked", self._apply, most=200)
        self._looking: dict[Ticket, asyncio.Task[None]] = {}
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._wake = asyncio.Event()
        self._next_dispatch_ms = 0
        self._reconciler = Reconciler(ctx)
        self._batches = BatchSweeps(ctx)
        self._leasing = True
        self._doubts_callbacks = False

    def wake(self) -> None:
        """Sweep at once: something became due by what this process just did."""
        self._wake.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_for_good("looked", self._looked.run))
            group.create_task(run_for_good("sweeps", self._sweep_forever))

    async def stop(self) -> None:
        """Lease nothing more; looks get as long as their lease to end, and what they found is applied."""
        self._leasing = False
        self._wake.set()
        if self._looking:
            _, late = await asyncio.wait(self._looking.values(), timeout=LOOK_LEASE_MS / 1000)
            for look in late:
                look.cancel()
        for probing in self._probing.values():
            probing.cancel()
        self._reconciler.stop()
        self._batches.stop()
        await self._looked.drained()

    async def _sweep_forever(self) -> None:
        while self._leasing:
            pause_s = LONGEST_S
            self._wake.clear()
            try:
                pause_s = await self._sweep()
            except (*UNAVAILABLE, ReadOnlyError) as error:
                log.warning("sweep.store_unavailable", error=str(error))
                pause_s = 1.0
            except Exception:
                log.exception("sweep.failed")
                pause_s = 1.0
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                log.warning("sweep.cut_off")
                pause_s = 1.0
            try:
                await asyncio.wait_for(self._wake.wait(), pause_s)
            except TimeoutError:
                continue

    async def _sweep(self) -> float:
        due = await self._ctx.timers.lease_due(
            most=SWEEP_MOST,
            look_ms=LOOK_LEASE_MS,
            message_ms=MESSAGE_WAIT_MS,
            check_ms=MESSAGE_CHECK_MS,
            patience_ms=self._patience_ms,
        )
        self._ctx.clock.set(due.now_ms)
        for unreadable in due.unknown:
            log.error("due.unreadable", entry=unreadable)
        self._start(due)
        await self._move_all(due)
        if due.due == SWEEP_MOST:
            return 0.0
        if due.next_ms is None:
            return LONGEST_S
        return min(max((due.next_ms - due.now_ms) / 1000, SHORTEST_S), LONGEST_S)

    def _start(self, due: Due) -> None:
        """Start what goes on by itself; nothing here waits or fails, so that no entry suffers for another."""
        self._watch_callbacks(due)
        for entry in due.attempts:
            if entry.state == "generating":
                self._start_look(entry)
            elif entry.state == "storing":
                self._ctx.publisher.store(entry.ticket)
        for delivery in due.deliveries:
            self._ctx.publisher.notify(delivery)
        for lane in due.lanes:
            self._start_probe(lane)
        for batch_id, sweep in due.sweeps:
            self._batches.start(batch_id, sweep)
        for batch_id in due.manifests:
            self._ctx.publisher.manifest(batch_id)
        unconfirmed = [entry for entry in due.attempts if entry.state == "unconfirmed"]
        if unconfirmed:
            self._reconciler.start(unconfirmed)

    def _watch_callbacks(self, due: Due) -> None:
        """Say when upstream's callbacks stop coming, which makes looks frequent again, and when they are back."""
        for entry in due.attempts:
            if entry.callback and (entry.callback == "doubted") != self._doubts_callbacks:
                self._doubts_callbacks = entry.callback == "doubted"
                say = log.warning if self._doubts_callbacks else log.info
                say("callbacks.missing" if self._doubts_callbacks else "callbacks.back", lane=entry.lane)

    async def _move_all(self, due: Due) -> None:
        """Make the moves that are due themselves; all are tried before a failed one raises."""
        moves = [self._submit_lapsed(entry) for entry in due.attempts if entry.state == "submitting"]
        unsent = [entry.ticket for entry in due.attempts if entry.state == "admitted"]
        if unsent:
            log.warning("jobs.unadmitted", jobs=len(unsent))
            moves.append(self._ctx.attempts.unadmit(unsent))
        if due.deadlines:
            moves.append(self._ctx.timers.expire(due.deadlines))
        moves.append(self._raise_dispatch(due))
        for result in await asyncio.gather(*moves, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _submit_lapsed(self, entry: DueAttempt) -> None:
        moved = await self._ctx.attempts.unknown(
            entry.ticket, look_in_ms=0, message="the worker vanished in mid submit"
        )
        log.warning("submit.lapsed", job_id=entry.ticket.job_id, attempt=entry.ticket.attempt, moved=moved.name)

    async def _raise_dispatch(self, due: Due) -> None:
        if (due.line_depth or due.lanes) and (due.lanes or due.now_ms >= self._next_dispatch_ms):
            self._next_dispatch_ms = due.now_ms + DISPATCH_EVERY_MS
            if await self._ctx.line.raise_wake():
                self._ctx.publisher.dispatch()

    def _start_probe(self, lane: str) -> None:
        """Try a lane beside the sweeps: an upstream that hangs takes a minute to say so."""
        if lane not in self._probing:
            task = asyncio.create_task(self._probe(lane))
            self._probing[lane] = task
            task.add_done_callback(lambda _: self._probing.pop(lane, None))

    async def _probe(self, lane: str) -> None:
        try:
            await check_server(self._ctx, lane)
            await probe(self._ctx, lane)
        except UNAVAILABLE as error:
            log.warning("probe.store_unavailable", lane=lane, error=str(error))
        except Exception:
            log.exception("probe.crashed", lane=lane)

    def _start_look(self, entry: DueAttempt) -> None:
        """Look beside the sweeps; one that a callback has made stale holds up no newer one."""
        ticket = entry.ticket
        if ticket in self._looking or not self._leasing:
            return
        task = asyncio.create_task(self._look(entry))
        self._looking[ticket] = task
        task.add_done_callback(lambda _: self._looking.pop(ticket, None))

    async def _look(self, entry: DueAttempt) -> None:
        async with self._slots:
            try:
                reach(Checkpoint.LOOK_LEASED, entry.ticket)
                outcome = await self._ctx.upstream.look(entry.prediction_id)
                reach(Checkpoint.LOOK_ANSWERED, entry.ticket, type(outcome).__name__)
                decision = decide(entry, outcome, self._rules, now_ms=self._ctx.clock.now_ms())
            except Exception:
                log.exception("look.crashed", job_id=entry.ticket.job_id, prediction_id=entry.prediction_id)
                return
        self._looked.add(Looked(entry, decision))

    async def _apply(self, looked: list[Looked]) -> None:
        again: list[Look] = []
        rest: list[Looked] = []
        for item in looked:
            if isinstance(item.decision, Again):
                again.append(_look_of(item.entry, item.decision))
            else:
                rest.append(item)
        if again:
            await self._ctx.timers.reschedule(again)
        for item in looked:
            if isinstance(item.decision, Again) and item.decision.resumed:
                await self._ctx.attempts.resumed(item.entry.ticket)
        if any(isinstance(item.decision, Again) and item.decision.unauthorized for item in looked):
            await pause_for_key(self._ctx)
        for moved in await asyncio.gather(*(self._move(item) for item in rest), return_exceptions=True):
            if isinstance(moved, Ticket):
                reach(Checkpoint.LOOK_HANDED_OVER, moved)
                self._ctx.publisher.store(moved)
            elif moved is not None:
                log.error("look.not_applied", exc_info=moved)
        if rest and await self._ctx.line.raise_wake():
            self._ctx.publisher.dispatch()

    async def _move(self, item: Looked) -> Ticket | None:
        ticket, polls = item.entry.ticket, item.entry.polls + 1
        match item.decision:
            case HandOver(sources, inference_ms):
                return await self._ctx.attempts.hand_over(
                    ticket, sources=sources, inference_ms=inference_ms, polls=polls, wait_ms=MESSAGE_CHECK_MS
                )
            case GiveUp(error, max_attempts):
                moved = await self._ctx.attempts.failed(ticket, error, max_attempts=max_attempts, polls=polls)
                log.info(
                    "attempt.failed", job_id=ticket.job_id, attempt=ticket.attempt, code=error.code, moved=moved.name
                )
            case TimeOut(error):
                moved = await self._ctx.attempts.time_out(ticket, error)
                log.info("job.timed_out", job_id=ticket.job_id, attempt=ticket.attempt, moved=moved.name)
                await self._ctx.timers.reschedule([Look(ticket, polls, self._rules.poll_max_ms)])
        return None


def _look_of(entry: DueAttempt, decision: Again) -> Look:
    was_missing = entry.missing_ms is not None
    missing = None if decision.missing == was_missing else decision.missing
    return Look(entry.ticket, entry.polls + 1, decision.delay_ms, missing)
