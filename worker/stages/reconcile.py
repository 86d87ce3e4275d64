"""Reconcile: find out what became of sends whose answer was lost, by the list call, and never by sending again blindly.

One sweep lists once for all unconfirmed attempts that are due. A prediction is adopted only when nobody owns it, its
input equals the request, and no equal request is just being sent; one whose input upstream does not show is never
adopted, for it may be anybody's. Absence is believed after several complete listings, the last a window after the last
byte could have left. What stays unclear ends `submit_unconfirmed`, for an operator.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from darkroom.jobs import JobError, JobRequest, JobStatus
from darkroom.store import keys
from darkroom.store.attempts import Absence, Moved
from darkroom.store.connection import read_set
from darkroom.store.jobs import JobStore
from darkroom.store.records import JobRecord
from darkroom.telemetry.logs import get_logger
from darkroom.timers import DueAttempt
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.outcomes import Prediction
from worker.context import Context

PAD = timedelta(minutes=5)
LISTINGS_NEEDED = 3
MOST_PAGES = 200
AGAIN_MS = 5_000
log = get_logger(__name__)

Wanted = tuple[str, str, int]
"""Prompt, size and max_images: what makes two requests interchangeable."""


@dataclass(frozen=True, slots=True)
class Lost:
    """One unconfirmed attempt and what it had asked for."""

    entry: DueAttempt
    send: int
    wanted: Wanted


class Reconciler:
    """Runs one sweep at a time in this process."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._jobs = JobStore(ctx.redis)
        self._task: asyncio.Task[None] | None = None

    def start(self, entries: list[DueAttempt]) -> None:
        """Sweep for these attempts unless a sweep is under way; they come back by their timers."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._sweep(entries))

    def stop(self) -> None:
        """End a sweep under way; what it had not settled comes back by its timer."""
        if self._task is not None:
            self._task.cancel()

    async def _sweep(self, entries: list[DueAttempt]) -> None:
        try:
            lost = await self._read(entries)
            orphans = await self._list_orphans(lost)
        except (UpstreamUnavailableError, UnauthorizedError) as error:
            log.warning("reconcile.not_listed", lost=len(entries), why=str(error))
            return
        except Exception:
            log.exception("reconcile.crashed", lost=len(entries))
            return
        for item in lost:
            try:
                await self._settle(item, orphans)
            except Exception:
                log.exception("reconcile.crashed", job_id=item.entry.ticket.job_id)

    async def _read(self, entries: list[DueAttempt]) -> list[Lost]:
        records = {record.job_id: record for record in await self._jobs.read_many([e.ticket.job_id for e in entries])}
        lost = []
        for entry in entries:
            record = records.get(entry.ticket.job_id)
            if record is not None and record.attempt_number == entry.ticket.attempt:
                lost.append(Lost(entry, int(record.attempt["sends"]), wanted_by(record)))
        return sorted(lost, key=lambda item: item.entry.sent_ms)

    async def _list_orphans(self, lost: list[Lost]) -> list[Prediction]:
        """Give the predictions of the time in question that no attempt owns; raises when a page could not be read."""
        if not lost:
            return []
        after = datetime.fromtimestamp(lost[0].entry.sent_ms / 1000, UTC) - PAD
        found: list[Prediction] = []
        for page in range(1, MOST_PAGES + 1):
            listing = await self._ctx.upstream.list_predictions(page=page, created_after=after)
            if not listing.complete:
                raise UpstreamUnavailableError("a page of the listing could not be read whole")
            found.extend(listing.items)
            if listing.is_last:
                break
        else:
            raise UpstreamUnavailableError(f"the listing has more than {MOST_PAGES} pages")
        owners = await self._ctx.attempts.owners([item.id for item in found])
        return [item for item in found if item.id not in owners]

    async def _settle(self, item: Lost, orphans: list[Prediction]) -> None:
        same = [orphan for orphan in orphans if asked_by(orphan) == item.wanted]
        nameless = [orphan for orphan in orphans if orphan.input is None]
        if same and item.wanted not in await self._being_sent():
            await self._adopt(item, same[0], orphans)
            return
        absence = await self._ctx.attempts.absent(item.entry.ticket, look_in_ms=AGAIN_MS)
        if absence is not None and self._long_enough(absence):
            await self._conclude(item, absence, unclear=bool(same or nameless))

    def _long_enough(self, absence: Absence) -> bool:
        window_ms = self._ctx.settings.upstream.reconcile_window_s * 1000
        return absence.listings >= LISTINGS_NEEDED and absence.since_last_byte_ms >= window_ms

    async def _adopt(self, item: Lost, orphan: Prediction, orphans: list[Prediction]) -> None:
        ticket = item.entry.ticket
        moved = await self._ctx.attempts.accepted(
            ticket, send=item.send, prediction_id=orphan.id, look_in_ms=0, adopted=True
        )
        orphans.remove(orphan)
        log.warning("submit.adopted", job_id=ticket.job_id, prediction_id=orphan.id, moved=moved.name)

    async def _conclude(self, item: Lost, absence: Absence, *, unclear: bool) -> None:
        ticket, upstream = item.entry.ticket, self._ctx.settings.upstream
        again = upstream.on_absent == "resubmit" and absence.absent_before + 1 < upstream.max_submits
        if again and not unclear:
            moved = await self._ctx.attempts.returned(ticket, "absent")
        else:
            moved = await self._ctx.attempts.failed(ticket, _unconfirmed(absence, unclear=unclear))
        log.warning("submit.concluded", job_id=ticket.job_id, unclear=unclear, again=again, moved=Moved(moved).name)

    async def _being_sent(self) -> set[Wanted]:
        """Give the requests whose answers are still waited for: their predictions may be in the listing already."""
        pipe = self._ctx.redis.pipeline(transaction=False)
        for tenant in await read_set(self._ctx.redis, keys.TENANTS):
            pipe.zrange(keys.index(tenant, JobStatus.SUBMITTING), 0, -1)
        ids = [str(job_id) for job_ids in await pipe.execute() for job_id in job_ids]
        return {wanted_by(record) for record in await self._jobs.read_many(ids)}


def wanted_by(record: JobRecord) -> Wanted:
    """Give what a job asks for."""
    request = JobRequest.model_validate(record.request)
    return request.prompt, request.size, request.max_images


def asked_by(prediction: Prediction) -> Wanted | None:
    """Give what a prediction was asked for; None where upstream does not say."""
    asked = prediction.input
    if asked is None or asked.size is None or asked.max_images is None:
        return None
    return asked.prompt, asked.size.replace("x", "*"), asked.max_images


def _unconfirmed(absence: Absence, *, unclear: bool) -> JobError:
    why = "predictions of unknown origin were found" if unclear else "no prediction of it was found"
    return JobError(
        code="submit_unconfirmed",
        message=f"the answer to the submit was lost and {why}; an operator decides whether it was paid",
        retryable=False,
        upstream={"complete_listings": absence.listings, "absent_sends": absence.absent_before},
    )
