"""`/healthz`, `/readyz`, `/metrics`: open without a key."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import schemas
from api.answers import JSONAnswer
from api.metrics import CONTENT_TYPE, exposition
from api.services import services_of

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Whether this process lives", openapi_extra=schemas.OPEN)
async def healthz(request: Request) -> Response:
    """Answer as long as the process can, whatever else is missing."""
    return JSONAnswer({"status": "ok"})


@router.get(
    "/readyz",
    summary="Whether jobs are taken and get done",
    responses={503: {"description": "Not ready; `checks` names what is wrong"}},
    openapi_extra=schemas.OPEN,
)
async def readyz(request: Request) -> Response:
    """Look at Redis, the bucket, the workers and their progress."""
    report = await services_of(request).readiness.report()
    return JSONAnswer(report.body(), 200 if report.ready else 503, {"Cache-Control": "no-store"})


@router.get("/metrics", summary="Prometheus metrics", openapi_extra=schemas.OPEN)
async def metrics(request: Request) -> Response:
    """Give the cell's state as Redis tells it now, and this process' own measurements."""
    return Response(await exposition(services_of(request)), media_type=CONTENT_TYPE)
