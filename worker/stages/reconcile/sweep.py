"""One sweep settles all lost sends of a lane together, whoever's they are and however many.

Adopted is what was asked for the same. Surely absent is what several complete listings did not hold, the last one begun
a window after the last byte could have left, made with the same key. All else ends `submit_unconfirmed`, with the
evidence on the job, for an operator.
"""

import asyncio
from collections.abc import Sequence

from darkroom.store.attempts import Absence, Moved
from darkroom.telemetry.logs import get_logger
from darkroom.timers import DueAttempt
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from worker.context import Context
from worker.mishaps import note_mishap
from worker.stages.lane import pause_for_key
from worker.stages.look import RETENTION_MS
from worker.stages.reconcile.evidence import created_nothing, left_open
from worker.stages.reconcile.hold import SweepLostError, hold_sweep
from worker.stages.reconcile.listing import Lister, Listing, Orphan
from worker.stages.reconcile.matching import Absent, Adopt, Contested, Finding, Nameless, match
from worker.stages.reconcile.open_sends import OpenSend, read_open_sends

LISTINGS_NEEDED = 3
AGAIN_LEAST_MS, AGAIN_MOST_MS = 2_000, 30_000
SETTLED_AT_ONCE = 200
log = get_logger(__name__)


class Reconciler:
    """This process' share in looking for lost sends: one sweep at a time, and one a lane in the whole fleet."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._lister = Lister(ctx)
        self._task: asyncio.Task[None] | None = None

    def start(self, entries: list[DueAttempt]) -> None:
        """Sweep the lanes of these attempts unless a sweep is under way; they come back by their timers."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._sweep_all(sorted({entry.lane for entry in entries})))

    def stop(self) -> None:
        """End a sweep under way; what it had not settled comes back by its timer."""
        if self._task is not None:
            self._task.cancel()

    async def _sweep_all(self, lanes: list[str]) -> None:
        for lane in lanes:
            try:
                await self._sweep_once(lane)
            except SweepLostError:
                log.info("reconcile.taken_over", lane=lane)
            except UpstreamUnavailableError as error:
                log.warning("reconcile.not_listed", lane=lane, why=str(error))
            except UnauthorizedError:
                await pause_for_key(self._ctx)
            except Exception:
                log.exception("reconcile.crashed", lane=lane)

    async def _sweep_once(self, lane: str) -> None:
        async with hold_sweep(self._ctx.attempts, lane) as held:
            if held:
                await self._sweep(lane)

    async def _sweep(self, lane: str) -> None:
        sends = await self._without_hopeless(await read_open_sends(self._ctx.redis, lane))
        lost = [send for send in sends if send.lost]
        if not lost:
            return
        wanted = {send.wanted for send in lost}

        def interesting(orphan: Orphan) -> bool:
            return orphan.wanted is None or orphan.wanted in wanted

        windows = [(send.sent_ms, send.unknown_ms or send.sent_ms) for send in lost]
        listing = await self._lister.list_orphans(windows, interesting=interesting)
        # Read again: what is being sent now may own what has just been listed.
        sends = await read_open_sends(self._ctx.redis, lane)
        findings = [
            found
            for found in match(sends, listing.orphans, clock_known=listing.clock_known)
            if found[0].sent_ms <= listing.began_ms and found[0].wanted in wanted
        ]
        for start in range(0, len(findings), SETTLED_AT_ONCE):
            await self._settle_all(findings[start : start + SETTLED_AT_ONCE], listing)

    async def _without_hopeless(self, sends: list[OpenSend]) -> list[OpenSend]:
        """Give up on what upstream no longer keeps: no listing can say any more what became of it."""
        hopeless = [send for send in sends if send.lost and self._ctx.clock.now_ms() - send.sent_ms > RETENTION_MS]
        for send in hopeless:
            error = left_open(send, "it could not be looked for while upstream kept it", None, ())
            await self._ctx.attempts.failed(send.ticket, error)
        return [send for send in sends if send not in hopeless]

    async def _settle_all(self, findings: Sequence[tuple[OpenSend, Finding]], listing: Listing) -> None:
        results = await asyncio.gather(
            *(self._settle(send, finding, listing) for send, finding in findings), return_exceptions=True
        )
        for (send, _), result in zip(findings, results, strict=True):
            if isinstance(result, BaseException):
                note_mishap(log, "reconcile", result, job_id=send.ticket.job_id)

    async def _settle(self, send: OpenSend, finding: Finding, listing: Listing) -> None:
        match finding:
            case Adopt(orphan):
                await self._adopt(send, orphan.prediction_id)
                return
            case Contested():
                return
            case Absent() | Nameless():
                absence = await self._ctx.attempts.absent(
                    send.ticket, look_in_ms=self._again_ms(send), mark=listing.mark, began_ms=listing.began_ms
                )
                if absence is not None and self._long_enough(absence):
                    await self._conclude(send, finding, absence)

    async def _adopt(self, send: OpenSend, prediction_id: str) -> None:
        ticket = send.ticket
        moved = await self._ctx.attempts.accepted(
            ticket, send=send.send, prediction_id=prediction_id, look_in_ms=0, adopted=True
        )
        log.warning(
            "submit.adopted",
            job_id=ticket.job_id,
            attempt=ticket.attempt,
            prediction_id=prediction_id,
            moved=moved.name,
        )

    def _again_ms(self, send: OpenSend) -> int:
        """Look again ever more rarely, but right when the window is over."""
        waited_ms = self._ctx.clock.now_ms() - (send.unknown_ms or send.sent_ms)
        delay_ms = min(max(waited_ms // 2, AGAIN_LEAST_MS), AGAIN_MOST_MS)
        left_ms = self._window_ms - waited_ms
        return min(delay_ms, max(left_ms, 0) + AGAIN_LEAST_MS // 10) if left_ms > 0 else delay_ms

    @property
    def _window_ms(self) -> int:
        return int(self._ctx.settings.upstream.reconcile_window_s * 1000)

    def _long_enough(self, absence: Absence) -> bool:
        return absence.listings >= LISTINGS_NEEDED and absence.since_last_byte_ms >= self._window_ms

    async def _conclude(self, send: OpenSend, finding: Absent | Nameless, absence: Absence) -> None:
        upstream, attempts = self._ctx.settings.upstream, self._ctx.attempts
        if isinstance(finding, Nameless):
            if finding.only:
                await self._adopt(send, finding.orphans[0].prediction_id)
                return
            why = "predictions were found that do not say what they were asked for"
            moved = await attempts.failed(send.ticket, left_open(send, why, absence, finding.orphans))
        elif send.key != self._ctx.upstream.key_fingerprint:
            why = "the key has changed since, so that its absence proves nothing"
            moved = await attempts.failed(send.ticket, left_open(send, why, absence, ()))
        elif upstream.on_absent == "hold":
            why = "no prediction of it was found, and DARKROOM_ON_ABSENT is hold"
            moved = await attempts.failed(send.ticket, left_open(send, why, absence, ()))
        elif absence.absent_before + 1 >= upstream.max_submits:
            moved = await attempts.failed(send.ticket, created_nothing(absence), created_nothing=True)
        else:
            moved = await attempts.returned(send.ticket, "absent")
        log.warning(
            "submit.concluded", job_id=send.ticket.job_id, finding=type(finding).__name__, moved=Moved(moved).name
        )
