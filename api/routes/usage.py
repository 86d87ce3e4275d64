"""`/v1/usage`: jobs, images and money per UTC day."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import schemas
from api.answers import JSONAnswer
from api.auth import caller_of
from api.problems import invalid
from api.query import refuse_unknown
from api.services import Services, services_of
from api.validation import FieldError
from darkroom.jobs import usd
from darkroom.line.budgets import Budgets
from darkroom.store import keys
from darkroom.store.connection import read_set

DEFAULT_DAYS = 30
MOST_DAYS = 400
PARAMETERS = ("from", "to", "tenant")
_EPOCH = date(1970, 1, 1)
_COUNTS = ("jobs", "images_requested", "images_delivered", "completed", "failed", "canceled", "expired")

router = APIRouter(prefix="/v1/usage", tags=["usage"])


@router.get("", response_model=schemas.Usage, summary="Usage by day", responses=schemas.problems(401, 403, 422, 503))
async def get_usage(
    request: Request,
    first: Annotated[date | None, Query(alias="from", description="First UTC day; default: 30 days in all.")] = None,
    last: Annotated[date | None, Query(alias="to", description="Last UTC day, included; default: today.")] = None,
    tenant: Annotated[str | None, Query(description="Operators: only this tenant; default: all together.")] = None,
) -> Response:
    """Count what was asked for, delivered and spent."""
    services, caller = services_of(request), caller_of(request)
    refuse_unknown(request, PARAMETERS)
    if tenant is not None and tenant != caller.tenant:
        caller.require_admin()
    if not caller.admin:
        tenants = [caller.tenant]
    else:
        tenants = [tenant] if tenant else await read_set(services.redis, keys.TENANTS)
    days = _days(first, last)
    counted = await _count(services, tenants, days)
    rows = [{"date": day.isoformat(), **_counts(counted[day])} for day in days]
    total: Counter[str] = sum(counted.values(), Counter())
    budget = await Budgets(services.redis).today(tenants[0]) if len(tenants) == 1 else None
    return JSONAnswer(
        {
            "currency": "USD",
            "data": rows,
            "total": _counts(total),
            "budget_usd": usd(budget.cap_images) if budget else None,
            "budget_left_usd": usd(budget.left_images) if budget else None,
        }
    )


def _days(first: date | None, last: date | None) -> list[date]:
    end = last or datetime.now(UTC).date()
    start = first or end - timedelta(days=DEFAULT_DAYS - 1)
    if start > end:
        raise invalid([FieldError(("query", "from"), "must not be after `to`")])
    if (end - start).days >= MOST_DAYS:
        raise invalid([FieldError(("query", "from"), f"must be less than {MOST_DAYS} days before `to`")])
    return [start + timedelta(days=number) for number in range((end - start).days + 1)]


async def _count(services: Services, tenants: list[str], days: list[date]) -> dict[date, Counter[str]]:
    counted = {}
    for day in days:
        pipe = services.redis.pipeline(transaction=False)
        for tenant in tenants:
            pipe.hgetall(keys.usage(tenant, (day - _EPOCH).days))
        records = await pipe.execute() if tenants else []
        counted[day] = Counter[str]()
        for record in records:
            counted[day].update({name: int(count) for name, count in record.items()})
    return counted


def _counts(counts: Counter[str]) -> dict[str, Any]:
    money = {"spent_usd": usd(counts["spent_images"]), "refundable_usd": usd(counts["refundable_images"])}
    return {**{name: counts[name] for name in _COUNTS}, **money}
