"""`/v1/jobs/{id}/resolve`: operators settle a submit that could not be."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import schemas
from api.answers import job_answer, owned_job
from api.auth import caller_of
from api.body import parse_body, read_body, require_json
from api.predictions import require_own
from api.problems import invalid, not_found
from api.services import services_of
from api.validation import FieldError
from darkroom.jobs import Job, Strict
from darkroom.store.jobs import ResolveAction
from darkroom.telemetry.logs import get_logger

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
log = get_logger(__name__)
_EXAMPLE = '{"action": "adopt", "prediction_id": "0b0c…"}'


class Resolution(Strict):
    """What became of a lost submit, as the operator found out."""

    action: ResolveAction = Field(
        description="`adopt`: that prediction is this job's; `resubmit`: buy it again; `give_up`: leave it failed"
    )
    prediction_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] | None = Field(
        None, description="With `adopt`: the prediction upstream, such as one of `error.upstream.candidates`"
    )
    force: bool = Field(False, description="Adopt it although it seems to be another request's")


@router.post(
    "/{job_id}/resolve",
    response_model=Job,
    summary="Settle a job that ended submit_unconfirmed",
    responses=schemas.problems(400, 401, 403, 404, 409, 415, 422, 503),
    openapi_extra=schemas.body_of(Resolution),
)
async def resolve_job(request: Request, job_id: str) -> Response:
    """Say what became of a submit whose answer was lost: nothing is bought twice unless the operator says so."""
    services, caller = services_of(request), caller_of(request)
    caller.require_admin()
    require_json(request)
    resolution = parse_body(await read_body(request), Resolution, example=_EXAMPLE)
    _require_what_belongs_together(resolution)
    record = await owned_job(request, job_id)
    if resolution.prediction_id is not None and services.upstream is not None:
        await require_own(services.upstream, resolution.prediction_id, record, force=resolution.force)
    try:
        wake = await services.jobs.resolve(
            job_id, resolution.action, prediction_id=resolution.prediction_id or "", by=f"an operator ({caller.tenant})"
        )
    except KeyError:
        raise not_found("job") from None
    log.warning(
        "job.resolved",
        job_id=job_id,
        action=resolution.action,
        prediction_id=resolution.prediction_id,
        operator=caller.tenant,
    )
    if wake:
        services.waker.wake()
    return await job_answer(request, await owned_job(request, job_id))


def _require_what_belongs_together(resolution: Resolution) -> None:
    adopting = resolution.action == "adopt"
    if adopting and resolution.prediction_id is None:
        raise invalid([FieldError(("body", "prediction_id"), "is required with the action adopt")])
    if not adopting and resolution.prediction_id is not None:
        raise invalid([FieldError(("body", "prediction_id"), "goes with the action adopt only")])
