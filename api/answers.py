"""What the routes share: JSON answers, the job a caller asks for, and the job as an answer."""

import re
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from api.auth import caller_of
from api.problems import not_found
from api.services import Services, services_of
from darkroom.store import keys
from darkroom.store.batches import BatchRecord
from darkroom.store.connection import read_set
from darkroom.store.records import JobRecord
from darkroom.store.view import job_view

_ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"
JOB_ID = re.compile(f"job_{_ULID}")
BATCH_ID = re.compile(f"batch_{_ULID}")
DELIVERY_ID = re.compile(f"dlv_{_ULID}")


class JSONAnswer(Response):
    """A JSON body written by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write the body."""
        return orjson.dumps(content)


async def owned_job(request: Request, job_id: str) -> JobRecord:
    """Read a job that the caller may see.

    Raises:
        Problem: `not_found`; another tenant's job answers the same as none.
    """
    if not JOB_ID.fullmatch(job_id):
        raise not_found("job")
    record = await services_of(request).jobs.read(job_id)
    if record is None or not caller_of(request).may_see(record.tenant):
        raise not_found("job")
    return record


async def known_tenants(services: Services) -> set[str]:
    """Give the tenants that have a key or have posted a job."""
    return {*services.settings.service.api_keys.values(), *await read_set(services.redis, keys.TENANTS)}


async def owned_batch(request: Request, batch_id: str) -> BatchRecord:
    """Read a batch that the caller may see; raises as `owned_job`."""
    record = await services_of(request).batches.read(batch_id) if BATCH_ID.fullmatch(batch_id) else None
    if record is None or not caller_of(request).may_see(record.tenant):
        raise not_found("batch")
    return record


async def job_body(services: Services, record: JobRecord) -> dict[str, Any]:
    """Show a job, its outputs with URLs made now."""
    await services.bucket.renew_credentials()
    return job_view(record, url_for=services.bucket.object_url, base_url=services.base_url)


async def job_answer(
    request: Request, record: JobRecord, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with a job."""
    return JSONAnswer(await job_body(services_of(request), record), status, headers)
