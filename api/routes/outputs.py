"""`/v1/jobs/{id}/outputs/{index}`: a fresh address of one stored image."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import schemas
from api.answers import job_body, owned_job
from api.problems import not_found
from api.services import services_of

router = APIRouter(prefix="/v1/jobs/{job_id}/outputs", tags=["jobs"])


@router.get(
    "/{index}",
    status_code=307,
    summary="Go to an image",
    responses=schemas.problems(401, 404, 503) | {307: {"description": "`Location` is a URL made for this answer"}},
)
async def get_output(request: Request, job_id: str, index: str) -> Response:
    """Redirect to the stored image; the URL needs no API key and ends by itself."""
    record = await owned_job(request, job_id)
    outputs = (await job_body(services_of(request), record))["outputs"]
    url = next((output["url"] for output in outputs if str(output["index"]) == index), None)
    if url is None:
        raise not_found("output")
    return Response(status_code=307, headers={"Location": url})
