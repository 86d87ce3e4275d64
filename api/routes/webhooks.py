"""`/v1/webhooks`: a tenant's secrets and its default webhook, and the receivers' hosts that fail."""

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from api import schemas
from api.answers import JSONAnswer, known_tenants
from api.auth import caller_of
from api.body import parse_body, read_body, require_json
from api.problems import Problem, invalid, not_found
from api.query import refuse_unknown
from api.services import services_of
from api.validation import FieldError
from api.webhook_urls import require_allowed
from darkroom.jobs import Strict, Webhook
from darkroom.store.view import iso
from darkroom.telemetry.logs import get_logger

MOST_OVERLAP_S = 30 * 86_400

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
log = get_logger(__name__)


class Rotation(Strict):
    """How to change over to a new secret."""

    overlap_seconds: int = Field(
        86_400, ge=0, le=MOST_OVERLAP_S, description="How long those before it go on signing beside it"
    )


@router.post(
    "/secrets",
    status_code=201,
    response_model=schemas.NewWebhookSecret,
    summary="Make a new webhook secret",
    responses=schemas.problems(400, 401, 409, 413, 415, 422, 503),
    openapi_extra=schemas.body_of(Rotation) | schemas.OF_TENANT,
)
async def rotate_secret(request: Request) -> Response:
    """Make a secret, told this once. Those before it, the operator's for a first one, sign on through the overlap."""
    tenant = await _tenant(request)
    body = await read_body(request)
    if body:
        require_json(request)
    rotation = parse_body(body or b"{}", Rotation, example='{"overlap_seconds": 86400}')
    made = await services_of(request).webhook_secrets.rotate(tenant, overlap_s=rotation.overlap_seconds)
    log.warning("webhook.secret_made", tenant=tenant, secret_id=made.secret_id, overlap_s=rotation.overlap_seconds)
    shown = {"id": made.secret_id, "secret": made.secret, "created_at": iso(made.created_ms), "expires_at": None}
    return JSONAnswer(shown, 201, {"Cache-Control": "no-store"})


@router.get(
    "/secrets",
    response_model=schemas.WebhookSecretList,
    summary="List webhook secrets",
    responses=schemas.problems(401, 422, 503),
    openapi_extra=schemas.OF_TENANT,
)
async def list_secrets(request: Request) -> Response:
    """List what signs the tenant's webhooks, newest first, without telling it; none: the operator's secret signs."""
    known, operators_ms = await services_of(request).webhook_secrets.list(await _tenant(request))
    rows = [
        {
            "id": secret.secret_id,
            "hint": f"whsec_…{secret.hint}",
            "created_at": iso(secret.created_ms),
            "expires_at": iso(secret.ends_ms),
        }
        for secret in known
    ]
    return JSONAnswer({"data": rows, "operator_secret_until": iso(operators_ms)})


@router.delete(
    "/secrets/{secret_id}",
    status_code=204,
    summary="Revoke a webhook secret",
    responses=schemas.problems(401, 404, 422, 503),
    openapi_extra=schemas.OF_TENANT,
)
async def revoke_secret(request: Request, secret_id: str) -> Response:
    """Let a secret sign nothing from now on; after the last one the operator's signs again."""
    tenant = await _tenant(request)
    if not await services_of(request).webhook_secrets.revoke(tenant, secret_id):
        raise not_found("secret")
    log.warning("webhook.secret_revoked", tenant=tenant, secret_id=secret_id)
    return Response(status_code=204)


@router.put(
    "/default",
    response_model=Webhook,
    summary="Set the default webhook",
    responses=schemas.problems(400, 401, 413, 415, 422, 503),
    openapi_extra=schemas.body_of(Webhook) | schemas.OF_TENANT,
)
async def set_default(request: Request) -> Response:
    """Tell this address of every job that names no webhook of its own, from the next event on."""
    tenant = await _tenant(request)
    require_json(request)
    webhook = parse_body(await read_body(request), Webhook, example='{"url": "https://example.com/hooks/darkroom"}')
    services = services_of(request)
    require_allowed(services, webhook, ("body",))
    await services.webhook_secrets.set_default_webhook(tenant, webhook)
    return JSONAnswer(webhook.model_dump(mode="json"))


@router.get(
    "/default",
    response_model=Webhook,
    summary="Read the default webhook",
    responses=schemas.problems(401, 404, 422, 503),
    openapi_extra=schemas.OF_TENANT,
)
async def get_default(request: Request) -> Response:
    """Say whom jobs without a webhook of their own tell."""
    webhook = await services_of(request).webhook_secrets.default_webhook(await _tenant(request))
    if webhook is None:
        raise _NO_DEFAULT
    return JSONAnswer(webhook.model_dump(mode="json"))


@router.delete(
    "/default",
    status_code=204,
    summary="Take the default webhook away",
    responses=schemas.problems(401, 404, 422, 503),
    openapi_extra=schemas.OF_TENANT,
)
async def delete_default(request: Request) -> Response:
    """Tell nobody of jobs that name no webhook of their own; what is on its way goes on."""
    if not await services_of(request).webhook_secrets.set_default_webhook(await _tenant(request), None):
        raise _NO_DEFAULT
    return Response(status_code=204)


@router.get(
    "/hosts",
    response_model=schemas.WebhookHosts,
    summary="Receivers that fail or lag",
    responses=schemas.problems(401, 403, 503),
)
async def get_hosts(request: Request) -> Response:
    """Operators: list the hosts that fail, and those that deliveries wait for."""
    caller_of(request).require_admin()
    hosts = await services_of(request).deliveries.hosts()
    rows = [
        {
            "host": state.host,
            "tenant": state.tenant,
            "breaker": state.breaker,
            "failing_since": iso(state.failing_since_ms),
            "next_probe_at": iso(state.next_probe_ms),
            "attempts_under_way": state.flying,
            "deliveries_waiting": state.waiting,
        }
        for state in hosts
    ]
    return JSONAnswer({"data": rows})


_NO_DEFAULT = Problem(
    "not_found", "there is no default webhook: set one by PUT, or with `darkroom webhooks default set URL`"
)


async def _tenant(request: Request) -> str:
    """Give whose webhooks are meant: the caller's own, or the one that an operator names."""
    refuse_unknown(request, ("tenant",))
    caller, named = caller_of(request), request.query_params.get("tenant")
    if not caller.admin:
        if named not in (None, caller.tenant):
            caller.require_admin()
        return caller.tenant
    services = services_of(request)
    if services.settings.service.auth == "off" and named is None:
        return caller.tenant
    if named not in await known_tenants(services):
        message = "is required with an operator's key" if named is None else "is not a tenant with a key or a job"
        raise invalid([FieldError(("query", "tenant"), message)])
    return named
