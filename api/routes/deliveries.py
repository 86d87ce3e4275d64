"""`/v1/jobs/{id}/deliveries` and `/v1/deliveries`: who was told, who could not be, and telling again."""

from collections.abc import Iterable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from api import schemas
from api.answers import DELIVERY_ID, JSONAnswer, known_tenants, owned_batch, owned_job
from api.auth import caller_of
from api.body import parse_body, read_body, require_json
from api.moments import moment_ms
from api.problems import invalid, not_found
from api.query import refuse_unknown
from api.services import services_of
from api.validation import FieldError
from darkroom.jobs import Strict
from darkroom.store import keys
from darkroom.store.connection import read_set
from darkroom.store.undelivered import STATUSES, Cursor, Status, Wanted
from darkroom.store.view import iso
from darkroom.telemetry.logs import get_logger

PARAMETERS = ("status", "since", "host", "limit", "cursor", "tenant")
_EXAMPLE = '{"since": "2026-11-25T08:00:00Z"}'

router = APIRouter(tags=["deliveries"])
log = get_logger(__name__)


def _is_moment(text: str) -> str:
    moment_ms(text)
    return text


def _is_host(text: str) -> str:
    if not text or len(text) > 300 or set(text) & set("/?#@\\ \t\r\n"):
        raise ValueError("must be a host alone, such as hooks.example.com or hooks.example.com:8443")
    return text


Moment = Annotated[str, AfterValidator(_is_moment)]
Host = Annotated[str, AfterValidator(_is_host)]


class Recovery(Strict):
    """Which deliveries to send again."""

    since: Moment = Field(description="Those that ended at this time or later", examples=["2026-11-25T08:00:00Z"])
    host: Host | None = Field(None, description="Only to this host, with or without its port; null: to any")
    statuses: list[Status] = Field(
        ["exhausted"], min_length=1, max_length=2, description="`gone` too where the receiver wants them again"
    )
    tenant: str | None = Field(None, description="Operators: only this tenant's; null: everybody's")


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
    return JSONAnswer({"data": _views(found)})


@router.get(
    "/v1/batches/{batch_id}/deliveries",
    response_model=schemas.DeliveryList,
    summary="Who was told about a batch",
    responses=schemas.problems(401, 404, 503),
)
async def get_batch_deliveries(request: Request, batch_id: str) -> Response:
    """List the webhook deliveries that tell of the batch itself, with every attempt, oldest first."""
    record = await owned_batch(request, batch_id)
    found = await services_of(request).deliveries.of_job(record.fields)
    return JSONAnswer({"data": _views(found)})


@router.get(
    "/v1/deliveries",
    response_model=schemas.UndeliveredPage,
    summary="List what reached nobody",
    responses=schemas.problems(401, 403, 422, 503),
)
async def get_undelivered(
    request: Request,
    status: Annotated[Status | None, Query(description="Only these; default: exhausted and gone.")] = None,
    since: Annotated[Moment | None, Query(description="Ended at this time or later; UTC without a zone.")] = None,
    host: Annotated[Host | None, Query(description="Only to this host, with or without its port.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(description="The `next_cursor` of the page before.")] = None,
    tenant: Annotated[str | None, Query(description="Operators: only this tenant's.")] = None,
) -> Response:
    """List deliveries that are exhausted or gone for as long as their jobs are kept.

    The longest ended come first; an operator's are sorted by tenant.
    """
    refuse_unknown(request, PARAMETERS)
    wanted = Wanted(moment_ms(since) if since else 0, host, (status,) if status else STATUSES)
    tenants = await _tenants(request, tenant)
    found, following = await services_of(request).undelivered.page(
        tenants, wanted, limit=limit, cursor=_read_cursor(cursor, tenants) if cursor is not None else None
    )
    whose = caller_of(request).admin
    rows = [delivery_view(one, record) | ({"tenant": record["tenant"]} if whose else {}) for one, record in found]
    return JSONAnswer({"data": rows, "next_cursor": _write_cursor(following) if following else None})


@router.post(
    "/v1/deliveries/recover",
    status_code=202,
    response_model=schemas.Recovered,
    summary="Tell all again who could not be told",
    responses=schemas.problems(400, 401, 403, 413, 415, 422, 503),
    openapi_extra=schemas.body_of(Recovery),
)
async def recover(request: Request) -> Response:
    """Send everything again that reached nobody since a time, each with the same event id and a fresh schedule."""
    require_json(request)
    wanted = parse_body(await read_body(request), Recovery, example=_EXAMPLE)
    tenants = await _tenants(request, wanted.tenant, ("body", "tenant"))
    recovered = await services_of(request).undelivered.recover(
        tenants,
        Wanted(moment_ms(wanted.since), wanted.host, tuple(wanted.statuses)),
    )
    log.warning(
        "deliveries.recovered", caller=caller_of(request).tenant, since=iso(moment_ms(wanted.since)), count=recovered
    )
    return JSONAnswer({"recovered": recovered}, 202)


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
        "job_id": delivery["job"] if delivery["job"].startswith("job_") else None,
        "batch_id": delivery["job"] if delivery["job"].startswith("batch_") else None,
        "url": delivery["url"],
        "status": delivery["status"],
        "attempts": [_attempt_view(attempt) for attempt in orjson.loads(delivery.get("attempts", "[]"))],
        "next_attempt_at": iso(delivery.get("next_ms")),
    }


def _views(found: Iterable[tuple[str, dict[str, str]]]) -> list[dict[str, Any]]:
    return [delivery_view(delivery_id, delivery) for delivery_id, delivery in found]


def _attempt_view(attempt: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": iso(attempt["at_ms"]),
        "status_code": attempt["status_code"],
        "duration_ms": attempt["duration_ms"],
        "error": attempt["error"],
        "response": attempt.get("response", ""),
        "next_attempt_at": iso(attempt.get("next_ms")),
    }


async def _tenants(request: Request, tenant: str | None, loc: tuple[str, str] = ("query", "tenant")) -> list[str]:
    """Give whose deliveries are meant: the caller's own, or for an operator one tenant's or everybody's."""
    caller = caller_of(request)
    if not caller.admin:
        if tenant not in (None, caller.tenant):
            caller.require_admin()
        return [caller.tenant]
    if tenant is None:
        return sorted(await read_set(services_of(request).redis, keys.TENANTS))
    if tenant not in await known_tenants(services_of(request)):
        raise invalid([FieldError(loc, "is not a tenant with a key or a job")])
    return [tenant]


def _write_cursor(cursor: Cursor) -> str:
    return f"{cursor.tenant}.{cursor.settled_ms}.{cursor.delivery_id}"


def _read_cursor(text: str, tenants: list[str]) -> Cursor:
    """Read what `_write_cursor` wrote; a tenant's name holds no dot."""
    tenant, _, rest = text.partition(".")
    settled_ms, _, delivery_id = rest.partition(".")
    number = settled_ms.isascii() and settled_ms.isdigit() and len(settled_ms) < 17
    if tenant not in tenants or not number or (delivery_id and not DELIVERY_ID.fullmatch(delivery_id)):
        raise invalid([FieldError(("query", "cursor"), "must be the next_cursor of a page before")])
    return Cursor(tenant, int(settled_ms), delivery_id)
