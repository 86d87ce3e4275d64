"""`/v1/lanes`: operators pause and resume upstream accounts."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import schemas
from api.answers import JSONAnswer
from api.auth import caller_of
from api.problems import not_found
from api.routes.status import lane_view
from api.services import services_of

router = APIRouter(prefix="/v1/lanes", tags=["lanes"])


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


async def _require_lane(request: Request, name: str) -> None:
    caller_of(request).require_admin()
    if name not in await services_of(request).lanes.names():
        raise not_found("lane")


async def _lane(request: Request, name: str) -> Response:
    states = await services_of(request).lanes.states()
    return JSONAnswer(next(lane_view(lane) for lane in states if lane.name == name))
