"""`/v1/jobs/{id}/events`: a job's status changes as Server-Sent Events."""

import re
from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from api import schemas
from api.answers import owned_job
from api.services import Services, services_of
from darkroom.jobs import JobStatus
from darkroom.store.connection import UNAVAILABLE
from darkroom.store.records import JobRecord, StatusChange, status_changes
from darkroom.store.view import iso

KEEP_ALIVE_S = 15.0
_EVENT_ID = re.compile(r"[0-9]{1,9}-([0-9]{1,9})")
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/v1/jobs/{job_id}/events", tags=["jobs"])


@router.get(
    "",
    summary="Follow a job",
    responses=schemas.problems(401, 404, 503) | schemas.EVENT_STREAM,
    openapi_extra={"parameters": [schemas.LAST_EVENT_ID]},
)
async def get_events(request: Request, job_id: str) -> Response:
    """Stream every status change from the first (or from `Last-Event-ID`) to the terminal one, then close."""
    record = await owned_job(request, job_id)
    last = _EVENT_ID.fullmatch(request.headers.get("last-event-id", ""))
    seen = int(last.group(1)) if last else 0
    if _over(record, seen) and last:
        return Response(status_code=204, headers=_HEADERS)  # tells a browser to stop coming back (HTML, 9.2.3)
    stream = _head() if request.scope.get("darkroom.head") else _stream(services_of(request), record.job_id, seen)
    return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)


async def _head() -> AsyncIterator[bytes]:
    yield b""


async def _stream(services: Services, job_id: str, seen: int) -> AsyncIterator[bytes]:
    """Ends without the terminal event when the store or this process goes away: the client comes back and goes on."""
    watcher = services.watcher
    with watcher.watch(job_id) as watch:
        while not watcher.closing:
            try:
                record = await services.jobs.read(job_id)
            except UNAVAILABLE:
                return
            if record is None:
                return
            for change in status_changes(record.job):
                if change.sequence > seen:
                    seen = change.sequence
                    yield _event(job_id, change)
            if _over(record, seen):
                return
            while not await watch.changed(KEEP_ALIVE_S):
                yield b": keep-alive\n\n"


def _over(record: JobRecord, seen: int) -> bool:
    """Whether the terminal event has been sent; a compacted job's history knows no other."""
    return JobStatus(record.status).terminal and seen >= status_changes(record.job)[-1].sequence


def _event(job_id: str, change: StatusChange) -> bytes:
    data = {"job_id": job_id, "status": change.status, "at": iso(change.at_ms), "attempt": change.attempt}
    return b"id: %b\nevent: job.status\ndata: %b\n\n" % (change.event_id.encode(), orjson.dumps(data))
