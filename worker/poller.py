"""The poller: waits so that no worker has to. Leases what is due, looks at predictions, wakes the other stages.

It never dispatches, submits, stores or notifies by itself: it calls for a Celery task. Its sweeps are supervised: one
that fails is logged and counted, and the next one comes; if it can't go on at all, the worker goes down visibly.
"""

import asyncio
import time

from redis.exceptions import ReadOnlyError

from darkroom.background import is_cancelled, run_for_good
from darkroom.store.compaction import compact
from darkroom.store.connection import UNAVAILABLE
from darkroom.telemetry.logs import get_logger
from darkroom.timers import Due, DueAttempt
from darkroom.webhooks.schedule import patience_s
from worker.batch_sweeps import BatchSweeps
from worker.context import Context
from worker.looks import LOOK_LEASE_MS, MESSAGE_CHECK_MS, Looks
from worker.stages.lane import probe
from worker.stages.reconcile import Reconciler
from worker.stages.server_change import check_server

MESSAGE_WAIT_MS = 60_000
"""How long work handed to a Celery queue may wait there before it is sent again whatever goes on."""

SWEEP_MOST, SWEEP_LEAST = 500, 50
"""Entries leased by a sweep: no more than the publisher has room for, but some, since looks need none of it."""

SHORTEST_S, LONGEST_S = 0.02, 0.1
DISPATCH_EVERY_MS = 1_000

STUCK_S = 60.0
"""A sweep that takes longer will not end any more: its calls all have timeouts of their own."""

log = get_logger(__name__)


class Poller:
    """One worker process' share in watching the due set."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._patience_ms = int(patience_s(ctx.settings.webhooks.retry_schedule_s) * 1000)
        self._compact_ms = ctx.settings.redis.compact_after_s * 1000
        self._looks = Looks(ctx)
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._next_dispatch_ms = 0
        self._reconciler = Reconciler(ctx)
        self._batches = BatchSweeps(ctx)
        self._leasing = True
        self._began_s = time.monotonic()

    @property
    def stuck(self) -> bool:
        """Whether it stands still, for whatever reason: its worker watches nothing then, and says so by its silence."""
        return self._leasing and time.monotonic() - self._began_s > STUCK_S

    def wake(self) -> None:
        """Sweep at once: something became due by what this process just did."""
        self._wake.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._looks.run())
            group.create_task(run_for_good("sweeps", self._sweep_forever))

    async def stop(self) -> None:
        """Lease nothing more; looks get as long as their lease to end, and what they found is applied."""
        self._leasing = False
        self._wake.set()
        await self._looks.stop()
        for probing in self._probing.values():
            probing.cancel()
        self._reconciler.stop()
        self._batches.stop()
        await self._looks.drained()

    async def _sweep_forever(self) -> None:
        while self._leasing:
            pause_s = LONGEST_S
            self._began_s = time.monotonic()
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
        most = max(min(SWEEP_MOST, self._ctx.publisher.room), SWEEP_LEAST)
        due = await self._ctx.timers.lease_due(
            most=most,
            look_ms=LOOK_LEASE_MS,
            message_ms=MESSAGE_WAIT_MS,
            check_ms=MESSAGE_CHECK_MS,
            patience_ms=self._patience_ms,
            compact_ms=self._compact_ms,
        )
        self._ctx.clock.set(due.now_ms)
        for unreadable in due.unknown:
            log.error("due.unreadable", entry=unreadable)
        self._start(due)
        await self._move_all(due)
        if due.due == most:
            return 0.0 if most == SWEEP_MOST else SHORTEST_S
        if due.next_ms is None:
            return LONGEST_S
        return min(max((due.next_ms - due.now_ms) / 1000, SHORTEST_S), LONGEST_S)

    def _start(self, due: Due) -> None:
        """Start what goes on by itself; nothing here waits or fails, so that no entry suffers for another."""
        for entry in due.attempts:
            if entry.state == "generating":
                self._looks.start(entry)
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

    async def _move_all(self, due: Due) -> None:
        """Make the moves that are due themselves; all are tried before a failed one raises."""
        moves = [self._submit_lapsed(entry) for entry in due.attempts if entry.state == "submitting"]
        unsent = [entry.ticket for entry in due.attempts if entry.state == "admitted"]
        if unsent:
            log.warning("jobs.unadmitted", jobs=len(unsent))
            moves.append(self._ctx.attempts.unadmit(unsent))
        if due.deadlines:
            moves.append(self._ctx.timers.expire(due.deadlines))
        if due.old:
            moves.append(self._compact(due.old))
        moves.append(self._raise_dispatch(due))
        for result in await asyncio.gather(*moves, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _submit_lapsed(self, entry: DueAttempt) -> None:
        moved = await self._ctx.attempts.unknown(
            entry.ticket, look_in_ms=0, message="the worker vanished in mid submit"
        )
        log.warning("submit.lapsed", job_id=entry.ticket.job_id, attempt=entry.ticket.attempt, moved=moved.name)

    async def _compact(self, job_ids: list[str]) -> None:
        done = await compact(self._ctx.jobs, job_ids)
        log.debug("jobs.compacted", jobs=done, of=len(job_ids))

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
