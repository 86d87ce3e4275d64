"""The OpenAPI 3.1 document: authentication, the request's schema, and problems for the framework's errors."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from api.batch_options import JsonBatch
from api.schemas import ProblemBody
from darkroom.batches import BatchResult
from darkroom.jobs import JobRequest

DESCRIPTION = """\
Durable, distributed job queue for multi-image generation with Seedream 4.5 Sequential.

Post a job; once the answer is 202 it reaches a terminal status whatever is killed in between. Its images end up in
your bucket, and a signed webhook says so. Errors are `application/problem+json` (RFC 9457) with a stable `code`.
"""
_TEMPLATE = "#/components/schemas/{model}"


def build(app: FastAPI) -> dict[str, Any]:
    """Make the document of an application whose routes are all there."""
    document = app.openapi()
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, own = models_json_schema(
        [(model, "validation") for model in (JobRequest, JsonBatch, BatchResult, ProblemBody)], ref_template=_TEMPLATE
    )
    schemas.update(own["$defs"])
    components["securitySchemes"] = {
        "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key of your tenant, or an operator's."}
    }
    document["security"] = [{"apiKey": []}]
    for path in document["paths"].values():
        for operation in path.values():
            _drop_framework_error(operation)
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    return document


def _drop_framework_error(operation: dict[str, Any]) -> None:
    content = operation.get("responses", {}).get("422", {}).get("content", {})
    if "HTTPValidationError" in str(content.get("application/json", {})):
        del operation["responses"]["422"]
