"""`/v1/batches`: many jobs at once, accepted whole or not at all; read, canceled, retried; their results in order."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, get_args

import orjson
from fastapi import APIRouter, Query, Request
from pydantic_core import to_json
from redis.exceptions import RedisError
from starlette.responses import Response, StreamingResponse

from api import schemas
from api.answers import BATCH_ID, JSONAnswer, job_body, owned_batch
from api.auth import caller_of
from api.batch_lines import MOST_UPLOAD_BYTES
from api.batch_options import JsonBatch, json_options, ndjson_options
from api.batch_upload import accept_batch
from api.body import parse_body, read_body, require_json, stream_body
from api.idempotency import idempotency_key
from api.problems import Problem, invalid, not_found
from api.query import refuse_unknown
from api.services import Services, services_of
from api.validation import MOST_ERRORS, FieldError, unknown_name
from darkroom.batches import Batch, BatchRetry
from darkroom.jobs import ErrorCode, JobStatus, usd
from darkroom.store.batch_ids import batch_job_id, line_of
from darkroom.store.batch_view import batch_view
from darkroom.store.batches import BatchRecord
from darkroom.store.records import JobRecord
from darkroom.telemetry.logs import get_logger

MOST_JSON_BYTES = 16 * 2**20
NDJSON = "application/x-ndjson"
READ_AT_ONCE = 200
RETRYABLE = (*get_args(ErrorCode), "canceled", "expired")
_EXAMPLE = '{"jobs": [{"prompt": "A fox finds a lantern"}]}'

log = get_logger(__name__)
router = APIRouter(prefix="/v1/batches", tags=["batches"])


@router.post(
    "",
    status_code=202,
    response_model=Batch,
    summary="Post a batch",
    responses=schemas.problems(400, 401, 408, 409, 413, 415, 422, 429, 503) | schemas.ACCEPTED_BATCH,
    openapi_extra=schemas.POST_BATCH,
)
async def post_batch(request: Request) -> Response:
    """Accept up to 50,000 jobs: all of them once this answers 202, and none of them otherwise."""
    services, caller, key = services_of(request), caller_of(request), idempotency_key(request)
    items = request.query_params.multi_items()
    if _content_type(request) == NDJSON:
        body, options = stream_body(request, most_bytes=MOST_UPLOAD_BYTES), ndjson_options(items)
    else:
        require_json(request)
        text = await read_body(request, most_bytes=MOST_JSON_BYTES)
        batch = await asyncio.to_thread(parse_body, text, JsonBatch, example=_EXAMPLE)  # long enough to be in the way
        body, options = _lines(batch.jobs), json_options(batch, items)
    accepted = await accept_batch(services, caller.tenant, body, options, key=key)
    await _list_jobs(services, accepted.batch_id)
    record = await services.batches.read(accepted.batch_id)
    if record is None:
        raise Problem("idempotency_result_gone", "the time of that batch is over; use a new key to make another one")
    headers = {"Location": f"{services.base_url}/v1/batches/{accepted.batch_id}"}
    if accepted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONAnswer(await _view(services, record), 202, headers)


@router.get(
    "",
    response_model=schemas.BatchPage,
    summary="List batches, newest first",
    responses=schemas.problems(401, 422, 503),
)
async def get_batches(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(description="The `next_cursor` of the page before.")] = None,
) -> Response:
    """List the caller's own batches; follow `next_cursor` until it is null."""
    refuse_unknown(request, ("limit", "cursor"))
    if cursor is not None and not BATCH_ID.fullmatch(cursor):
        raise invalid([FieldError(("query", "cursor"), "must be the next_cursor of a page before")])
    services = services_of(request)
    records, following = await services.batches.newest(caller_of(request).tenant, before=cursor, limit=limit)
    return JSONAnswer({"data": [await _view(services, record) for record in records], "next_cursor": following})


@router.get("/{batch_id}", response_model=Batch, summary="Read a batch", responses=schemas.problems(401, 404, 503))
async def get_batch(request: Request, batch_id: str) -> Response:
    """Read how far a batch has come, what it cost, and about how long the rest will take."""
    return JSONAnswer(await _view(services_of(request), await owned_batch(request, batch_id)))


@router.get(
    "/{batch_id}/results",
    summary="Read what became of its jobs",
    responses=schemas.problems(401, 404, 422, 503) | schemas.RESULTS,
)
async def get_results(
    request: Request,
    batch_id: str,
    after: Annotated[int, Query(ge=0, le=2**53, description="Only lines after this one.")] = 0,
) -> Response:
    """Stream a line of JSON for each job that has ended, in the order of the upload; those that go on are left out."""
    refuse_unknown(request, ("after",))
    record = await owned_batch(request, batch_id)
    return StreamingResponse(results_of(services_of(request), record, after), media_type=NDJSON)


@router.post(
    "/{batch_id}/cancel",
    response_model=Batch,
    summary="Cancel what waits of a batch",
    responses=schemas.problems(401, 404, 409, 503),
)
async def cancel_batch(request: Request, batch_id: str) -> Response:
    """Admit nothing more of it from this moment on and end its waiting jobs; what was sent goes on and is kept."""
    await owned_batch(request, batch_id)
    services = services_of(request)
    try:
        await services.batches.cancel(batch_id)
    except KeyError:
        raise not_found("batch") from None
    await services.batches.sweep(batch_id, "cancel")
    return JSONAnswer(await _view(services, await owned_batch(request, batch_id)))


@router.post(
    "/{batch_id}/retry",
    response_model=BatchRetry,
    summary="Let its failed jobs go on",
    responses=schemas.problems(401, 404, 409, 422, 503),
)
async def retry_batch(
    request: Request,
    batch_id: str,
    include: Annotated[
        str, Query(min_length=1, description="Error codes to retry too; `canceled`, `expired`; comma-separated.")
    ]
    | None = None,
) -> Response:
    """Retry the failed jobs, those excepted that would fail again or whose submit is not settled, unless named."""
    refuse_unknown(request, ("include",))
    codes = include.split(",") if include else []
    unknown = [
        FieldError(("query", "include"), unknown_name(code, RETRYABLE)) for code in codes if code not in RETRYABLE
    ]
    if unknown:
        raise invalid(unknown[:MOST_ERRORS])
    await owned_batch(request, batch_id)
    services = services_of(request)
    try:
        await services.batches.retry(batch_id, codes)
    except KeyError:
        raise not_found("batch") from None
    await services.batches.sweep(batch_id, "retry")
    services.waker.wake()
    record = await owned_batch(request, batch_id)
    return JSONAnswer(_retry_view(record) | {"batch": await _view(services, record)})


async def _list_jobs(services: Services, batch_id: str) -> None:
    """List the jobs of a batch that is accepted: no answer may say that it is not. Its timer makes up for a failure."""
    try:
        await services.batches.sweep(batch_id, "list")
    except RedisError as error:
        log.warning("batch.not_listed", batch_id=batch_id, error=str(error))


async def _view(services: Services, record: BatchRecord) -> dict[str, Any]:
    now_ms = await services.batches.now_ms()
    lanes = await services.lanes.states()
    rate = sum(lane.images_per_minute for lane in lanes if lane.state != "paused")
    return batch_view(record, now_ms=now_ms, images_per_minute=rate, base_url=services.base_url)


def _retry_view(record: BatchRecord) -> dict[str, Any]:
    fields = record.fields
    skipped = {name.removeprefix("retry_skip:"): int(count) for name, count in fields.items() if "retry_skip:" in name}
    return {
        "retried": {"resumed": int(fields.get("retry_resumed", 0)), "new_attempts": int(fields.get("retry_new", 0))},
        "not_retried": skipped,
        "cost": {"currency": "USD", "estimated": usd(int(fields.get("retry_images", 0)))},
    }


async def results_of(services: Services, record: BatchRecord, after: int) -> AsyncIterator[bytes]:
    """Give the lines of `GET /v1/batches/{id}/results`, some at a time."""
    for first in range(after + 1, record.last_line + 1, READ_AT_ONCE):
        lines = range(first, min(first + READ_AT_ONCE, record.last_line + 1))
        jobs = await services.jobs.read_many([batch_job_id(record.batch_id, line) for line in lines])
        found = []
        for job in jobs:
            if JobStatus(job.status).terminal:
                found.append(await _result(services, job))
                await asyncio.sleep(0)  # signing a job's URLs takes milliseconds: others go on in between
        yield b"".join(found)


async def _result(services: Services, job: JobRecord) -> bytes:
    shown = await job_body(services, job)
    return orjson.dumps({"line": line_of(job.job_id), "custom_id": shown["custom_id"], "job": shown}) + b"\n"


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _lines(jobs: list[Any]) -> AsyncIterator[bytes]:
    """Give the jobs of a JSON upload as the lines of an NDJSON one."""
    for job in jobs:
        yield to_json(job, inf_nan_mode="constants") + b"\n"  # numbers of any length, which orjson has no room for
