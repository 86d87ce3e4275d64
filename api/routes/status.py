"""`/v1/status`: the line, the lanes and the workers."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import schemas
from api.answers import JSONAnswer
from api.auth import Caller, caller_of
from api.services import services_of
from darkroom.line.lanes import LaneState
from darkroom.store.view import iso

router = APIRouter(prefix="/v1/status", tags=["service"])


@router.get("", summary="The line, the lanes and the workers", responses=schemas.problems(401, 503))
async def get_status(request: Request) -> Response:
    """Show how many wait, what each upstream account does, and who works; a tenant sees its own line only."""
    services = services_of(request)
    line = own_line(await services.lanes.depth(), caller_of(request))
    lanes = [lane_view(lane) for lane in await services.lanes.states()]
    workers = [
        {"name": name, "alive_at": iso(sign["alive_at_ms"]), "queues": sign.get("queues", [])}
        for name, sign in (await services.lanes.workers()).items()
    ]
    return JSONAnswer({"line": line, "lanes": lanes, "workers": workers, "simulated": services.simulated})


def own_line(line: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Leave out what other tenants have waiting, their number included."""
    if caller.admin:
        return line
    own = [tenant for tenant in line["tenants"] if tenant["tenant"] == caller.tenant]
    return {"depth": sum(tenant["depth"] for tenant in own), "tenants": own}


def lane_view(lane: LaneState) -> dict[str, Any]:
    """Show a lane."""
    return {
        "name": lane.name,
        "state": lane.state,
        "reason": lane.reason,
        "limits": {"images_per_minute": lane.images_per_minute, "max_concurrency": lane.max_concurrency},
        "configured_limits": {
            "images_per_minute": lane.configured_images_per_minute,
            "max_concurrency": lane.configured_max_concurrency,
        },
        "in_flight": lane.in_flight,
        "images_last_minute": lane.images_last_minute,
        "resumes_at": iso(lane.resumes_at_ms),
    }
