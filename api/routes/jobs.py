"""`/v1/jobs`: post, read, list, cancel and retry jobs."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import schemas
from api.answers import JSONAnswer, job_answer, job_body, owned_job
from api.auth import caller_of
from api.body import parse_job, read_body, require_json
from api.idempotency import idempotency_key
from api.listing import LISTING_PARAMETERS, parse_listing
from api.plain_route import PlainRoute
from api.problems import Problem, not_found
from api.query import refuse_unknown
from api.services import services_of
from api.webhook_urls import require_allowed
from darkroom.checkpoints import Checkpoint, reach
from darkroom.jobs import Job, JobStatus
from darkroom.store.connection import UNAVAILABLE
from darkroom.store.listing import list_jobs
from darkroom.store.records import JobRecord

MOST_WAIT_S = 60

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=PlainRoute)


@router.post(
    "",
    status_code=202,
    response_model=Job,
    summary="Post a job",
    responses=schemas.problems(400, 401, 413, 415, 422, 429, 503) | schemas.ACCEPTED,
    openapi_extra=schemas.POST_JOB,
)
async def post_job(request: Request) -> Response:
    """Accept a job: once this answers 202, the job reaches a terminal status whatever dies in between."""
    services, caller = services_of(request), caller_of(request)
    key = idempotency_key(request)
    require_json(request)
    job = parse_job(await read_body(request))
    require_allowed(services, job.webhook, ("body", "webhook"))
    service = services.settings.service
    services.require_room()
    reach(Checkpoint.API_BEFORE_ENQUEUE)
    accepted = await services.jobs.enqueue(
        caller.tenant,
        job,
        idempotency_key=key,
        max_queued=service.max_queued_per_tenant,
        refuse_over_budget=service.on_budget == "refuse",
    )
    reach(Checkpoint.API_ENQUEUED, accepted.job_id)
    if accepted.wake:
        services.waker.wake()
    record = accepted.record or await services.jobs.read(accepted.job_id)
    if record is None:
        raise _gone(replayed=accepted.replayed)
    headers = {"Location": f"{services.base_url}/v1/jobs/{accepted.job_id}"}
    if accepted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return await job_answer(request, record, status=202, headers=headers)


@router.get(
    "",
    response_model=schemas.JobPage,
    summary="List jobs, newest first",
    responses=schemas.problems(401, 422, 503),
    openapi_extra={"parameters": LISTING_PARAMETERS},
)
async def get_jobs(request: Request) -> Response:
    """List the caller's jobs; follow `next_cursor` until it is null (a page may be shorter than its limit)."""
    services = services_of(request)
    listing = parse_listing(request.query_params.multi_items(), caller_of(request))
    records, cursor = await list_jobs(services.jobs, listing.wanted, limit=listing.limit, cursor=listing.cursor)
    return JSONAnswer({"data": [await job_body(services, record) for record in records], "next_cursor": cursor})


@router.get(
    "/{job_id}",
    response_model=Job,
    summary="Read a job",
    responses=schemas.problems(401, 404, 422, 503),
)
async def get_job(
    request: Request,
    job_id: str,
    wait: Annotated[
        float, Query(ge=0, le=MOST_WAIT_S, description="Seconds to wait for the job to become terminal.")
    ] = 0,
) -> Response:
    """Read a job; with `wait` answer as soon as it is terminal, or as it is once the time is over."""
    record = await owned_job(request, job_id)
    if wait and not _terminal(record):
        record = await _wait_for_end(request, job_id, wait)
    return await job_answer(request, record)


@router.post(
    "/{job_id}/cancel",
    response_model=Job,
    summary="Cancel a job",
    responses=schemas.problems(401, 404, 409, 503),
)
async def cancel_job(request: Request, job_id: str) -> Response:
    """Cancel a job: free before its submit; while that is under way as soon as it is settled; after it at once."""
    await owned_job(request, job_id)
    try:
        await services_of(request).jobs.cancel(job_id)
    except KeyError:
        raise not_found("job") from None
    return await job_answer(request, await owned_job(request, job_id))


@router.post(
    "/{job_id}/retry",
    response_model=Job,
    summary="Let a failed, canceled or expired job go on",
    responses=schemas.problems(401, 404, 409, 422, 503),
)
async def retry_job(
    request: Request,
    job_id: str,
    fresh: Annotated[bool, Query(description="Make a new attempt, which costs again, whatever upstream has.")] = False,
) -> Response:
    """Resume what upstream still has at no cost, or else make a new attempt under the same id."""
    refuse_unknown(request, ("fresh",))
    await owned_job(request, job_id)
    try:
        retried = await services_of(request).jobs.retry(job_id, fresh=fresh)
    except KeyError:
        raise not_found("job") from None
    if retried.wake:
        services_of(request).waker.wake()
    return await job_answer(request, await owned_job(request, job_id))


def _gone(*, replayed: bool) -> Problem:
    if replayed:
        return Problem("idempotency_result_gone", "the time of that job is over; use a new key to make another one")
    return not_found("job")


def _terminal(record: JobRecord) -> bool:
    return JobStatus(record.status).terminal


async def _wait_for_end(request: Request, job_id: str, wait_s: float) -> JobRecord:
    watcher = services_of(request).watcher
    ends_at = time.monotonic() + wait_s
    with watcher.watch(job_id) as watch:
        while True:
            try:
                record = await owned_job(request, job_id)
            except UNAVAILABLE:
                if time.monotonic() >= ends_at:
                    raise
            else:
                if _terminal(record) or watcher.closing or time.monotonic() >= ends_at:
                    return record
            await watch.changed(max(0.0, ends_at - time.monotonic()))
