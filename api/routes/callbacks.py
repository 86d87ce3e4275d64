"""`/v1/upstream/callback/{token}`: where WaveSpeed says that a prediction has ended. Open: the token and the signature
say who calls.
"""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import schemas
from api.body import read_body
from api.services import services_of
from darkroom.upstream.callback_tokens import PATH

_REFUSED: dict[int | str, dict[str, Any]] = {
    **schemas.problems(400, 404, 413, 503),
    403: {**schemas.problems(403)[403], "description": "WaveSpeed has not signed this just now"},
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bare prediction; `webhook-id`, `webhook-timestamp` and `webhook-signature` (v3) sign it",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

router = APIRouter(tags=["upstream"])


@router.post(
    PATH + "{token}",
    status_code=204,
    response_class=Response,
    summary="Called by WaveSpeed",
    responses=_REFUSED,
    openapi_extra=schemas.OPEN | _BODY,
)
async def called_back(request: Request, token: str) -> Response:
    """Take a callback. 204 means that what it says is recorded; one that comes again does no harm."""
    callbacks = services_of(request).callbacks
    name = await callbacks.name_of(token)
    prediction = await callbacks.read(request.headers, await read_body(request))
    await callbacks.take(name, prediction)
    return Response(status_code=204)
