"""`/v1/jobs/{id}/deliveries` and `/v1/deliveries/{id}/redeliver`: who was told, and telling again."""

from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import schemas
from api.answers import DELIVERY_ID, JSONAnswer, owned_job
from api.auth import caller_of
from api.problems import not_found
from api.services import services_of
from darkroom.store.view import iso

router = APIRouter(tags=["deliveries"])


@router.get(
    "/v1/jobs/{job_id}/deliveries",
    response_model=schemas.DeliveryList,
    summary="Who was told about a job",
    responses=schemas.problems(401, 404, 503),
)
async def get_deliveries(request: Request, job_id: str) -> Response:
    """List the job's webhook deliveries with every attempt, oldest first."""
    record = await owned_job(request, job_id)
    found = await services_of(request).deliveries.of_job(record.job)
    return JSONAnswer({"data": [delivery_view(delivery_id, delivery) for delivery_id, delivery in found]})


@router.post(
    "/v1/deliveries/{delivery_id}/redeliver",
    status_code=202,
    response_model=schemas.Delivery,
    summary="Tell again",
    responses=schemas.problems(401, 404, 503),
)
async def redeliver(request: Request, delivery_id: str) -> Response:
    """Send a delivery again, with the same event id and a fresh schedule."""
    store = services_of(request).deliveries
    delivery = await store.read(delivery_id) if DELIVERY_ID.fullmatch(delivery_id) else None
    if delivery is None or not caller_of(request).may_see(delivery["tenant"]):
        raise not_found("delivery")
    if not await store.redeliver(delivery_id):
        raise not_found("delivery")
    renewed = await store.read(delivery_id)
    return JSONAnswer(delivery_view(delivery_id, renewed or delivery), 202)


def delivery_view(delivery_id: str, delivery: dict[str, str]) -> dict[str, Any]:
    """Show a delivery's record."""
    return {
        "id": delivery_id,
        "event_id": delivery["event"],
        "type": delivery["type"],
        "url": delivery["url"],
        "status": delivery["status"],
        "attempts": [_attempt_view(attempt) for attempt in orjson.loads(delivery.get("attempts", "[]"))],
        "next_attempt_at": iso(delivery.get("next_ms")),
    }


def _attempt_view(attempt: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": iso(attempt["at_ms"]),
        "status_code": attempt["status_code"],
        "duration_ms": attempt["duration_ms"],
        "error": attempt["error"],
    }
