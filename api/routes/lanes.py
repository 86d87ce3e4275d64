"""`/v1/lanes`: operators pause and resume upstream accounts and change their limits."""

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from api import schemas
from api.answers import JSONAnswer
from api.auth import caller_of
from api.body import parse_body, read_body, require_json
from api.problems import invalid, not_found
from api.routes.status import lane_view
from api.services import services_of
from api.validation import FieldError
from darkroom.jobs import Strict
from darkroom.line.lanes import AS_CONFIGURED

MOST = 1_000_000

router = APIRouter(prefix="/v1/lanes", tags=["lanes"])


class LaneLimits(Strict):
    """What an account allows; null: as configured. What is left out stays as it is."""

    images_per_minute: int | None = Field(None, ge=1, le=MOST, examples=[300])
    max_concurrency: int | None = Field(None, ge=1, le=MOST, examples=[50])


@router.post("/{name}/pause", summary="Pause a lane", responses=schemas.problems(401, 403, 404, 503))
async def pause_lane(request: Request, name: str) -> Response:
    """Admit nothing more until an operator resumes the lane; what is under way goes on."""
    await _require_lane(request, name)
    await services_of(request).lanes.pause(name, "operator")
    return await _lane(request, name)


@router.post("/{name}/resume", summary="Resume a lane", responses=schemas.problems(401, 403, 404, 503))
async def resume_lane(request: Request, name: str) -> Response:
    """Open a lane, whatever paused it; it pauses again by itself where the reason stands."""
    await _require_lane(request, name)
    services = services_of(request)
    await services.lanes.resume(name)
    services.waker.wake()
    return await _lane(request, name)


@router.post(
    "/{name}/limits",
    summary="Change a lane's limits",
    responses=schemas.problems(401, 403, 404, 413, 415, 422, 503),
    openapi_extra=schemas.body_of(LaneLimits),
)
async def change_limits(request: Request, name: str) -> Response:
    """Change what is given, at once and for every worker; null goes back to the configured value.

    A changed limit outlives restarts of workers until its setting (WAVESPEED_…) changes.
    """
    await _require_lane(request, name)
    require_json(request)
    limits = parse_body(await read_body(request), LaneLimits, example='{"images_per_minute": 300}')
    if not limits.model_fields_set:
        raise invalid([FieldError(("body",), f"give one or both of {', '.join(LaneLimits.model_fields)}")])
    services = services_of(request)
    await services.lanes.change_limits(
        name,
        images_per_minute=_wanted(limits, "images_per_minute"),
        max_concurrency=_wanted(limits, "max_concurrency"),
    )
    services.waker.wake()
    return await _lane(request, name)


def _wanted(limits: LaneLimits, name: str) -> int | None:
    if name not in limits.model_fields_set:
        return None
    value: int | None = getattr(limits, name)
    return AS_CONFIGURED if value is None else value


async def _require_lane(request: Request, name: str) -> None:
    caller_of(request).require_admin()
    if name not in await services_of(request).lanes.names():
        raise not_found("lane")


async def _lane(request: Request, name: str) -> Response:
    states = await services_of(request).lanes.states()
    return JSONAnswer(next(lane_view(lane) for lane in states if lane.name == name))
