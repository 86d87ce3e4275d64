"""Looks: asking upstream about predictions, many at once, and moving their attempts by what it says.

A look runs beside the poller's sweeps, so that an upstream that hangs delays none. What looks decide is applied
together, under each attempt's fence.
"""

import asyncio
from dataclasses import dataclass
from typing import cast

from redis.exceptions import RedisError

from darkroom.background import run_for_good
from darkroom.checkpoints import Checkpoint, reach
from darkroom.store import keys
from darkroom.store.attempts import Ticket
from darkroom.store.connection import UNAVAILABLE
from darkroom.telemetry.logs import get_logger
from darkroom.timers import DueAttempt, Look
from worker.batching import Batcher
from worker.context import LOOKS_AT_ONCE, Context
from worker.durations import Durations
from worker.stages.lane import pause_for_key
from worker.stages.look import Again, GiveUp, HandOver, LookDecision, LookRules, TimeOut, decide

LOOK_LEASE_MS = 5_000

MESSAGE_CHECK_MS = 10_000
"""After how long it is sent again for the first time, unless others called for before it are just being begun."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look decided, to be applied under the attempt's fence."""

    entry: DueAttempt
    decision: LookDecision


class Looks:
    """The looks of one worker process."""

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
        self._durations = Durations()
        self._looked = Batcher[Looked]("looked", self._apply, most=200)
        self._looking: dict[Ticket, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._leaving = False
        self._doubts_callbacks = False

    async def run(self) -> None:
        """Apply what looks decide, until cancelled."""
        await run_for_good("looked", self._run)

    async def _run(self) -> None:
        await self._remember()
        await self._looked.run()

    async def stop(self) -> None:
        """Begin none any more; those under way get as long as their lease to end, and what they found is applied."""
        self._leaving = True
        if self._looking:
            _, late = await asyncio.wait(self._looking.values(), timeout=LOOK_LEASE_MS / 1000)
            for look in late:
                look.cancel()

    async def drained(self) -> None:
        """Wait until what was found is applied."""
        await self._looked.drained()

    def start(self, entry: DueAttempt) -> None:
        """Look beside the sweeps; one that a callback has made stale holds up no newer one."""
        self._watch_callback(entry)
        ticket = entry.ticket
        if ticket in self._looking or self._leaving:
            return
        task = asyncio.create_task(self._look(entry))
        self._looking[ticket] = task
        task.add_done_callback(lambda _: self._looking.pop(ticket, None))

    async def _remember(self) -> None:
        """Learn how long generations took before this process was; not knowing makes more looks, and no other harm."""
        try:
            known_ms = cast(list[str], await self._ctx.redis.lrange(keys.DURATIONS, 0, -1))
            for duration_ms in known_ms:
                self._durations.note(int(duration_ms))
        except (*UNAVAILABLE, RedisError, ValueError) as error:
            log.warning("durations.unknown", error=str(error))

    def _watch_callback(self, entry: DueAttempt) -> None:
        """Say when upstream's callbacks stop coming, which makes looks frequent again, and when they are back."""
        if entry.callback and (entry.callback == "doubted") != self._doubts_callbacks:
            self._doubts_callbacks = entry.callback == "doubted"
            say = log.warning if self._doubts_callbacks else log.info
            say("callbacks.missing" if self._doubts_callbacks else "callbacks.back", lane=entry.lane)

    async def _look(self, entry: DueAttempt) -> None:
        async with self._slots:
            try:
                reach(Checkpoint.LOOK_LEASED, entry.ticket)
                outcome = await self._ctx.upstream.look(entry.prediction_id)
                reach(Checkpoint.LOOK_ANSWERED, entry.ticket, type(outcome).__name__)
                usual, now_ms = self._durations.usual(), self._ctx.clock.now_ms()
                decision = decide(entry, outcome, self._rules, now_ms=now_ms, usual=usual)
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
                self._durations.note(inference_ms)
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
