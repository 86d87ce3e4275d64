"""Reads a request's body within its limit and makes a model of it, with exact errors."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterator
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, RootModel, ValidationError

from api.problems import Problem, invalid
from api.validation import field_errors
from darkroom.jobs import JobRequest

Model = TypeVar("Model", bound=BaseModel)
MOST_BYTES = 2**20
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json", re.IGNORECASE)
EXAMPLE = '{"prompt": "A fox finds a lantern"}'


async def read_body(request: Request, *, most_bytes: int = MOST_BYTES) -> bytes:
    """Read the whole body; it is broken off as soon as it is known to be too large, whatever its headers say.

    Raises:
        Problem: as `stream_body`.
    """
    return b"".join([part async for part in stream_body(request, most_bytes=most_bytes)])


async def stream_body(request: Request, *, most_bytes: int) -> AsyncIterator[bytes]:
    """Give a body as it comes, as long as it is not too large.

    Raises:
        Problem: `body_too_large`, or `unsupported_media_type` for a compressed one.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise Problem("unsupported_media_type", "send the body as it is, without a Content-Encoding")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and len(announced) < 20 and int(announced) > most_bytes:
        raise _too_large(most_bytes)
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise _too_large(most_bytes)
        yield part


def require_json(request: Request) -> None:
    """Refuse a body that does not say that it is JSON: a page of another site can send any other type unasked.

    Raises:
        Problem: `unsupported_media_type`.
    """
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "").removeprefix("charset=")
    if not _JSON_TYPE.fullmatch(kind.strip()) or charset not in ("", "utf-8", "utf8"):
        raise Problem("unsupported_media_type", "send JSON in UTF-8, with the header Content-Type: application/json")


def parse_job(body: bytes) -> JobRequest:
    """Read a job request; raises as `parse_body`."""
    return parse_body(body, JobRequest, example=EXAMPLE)


class _AnyObject(RootModel[dict[str, Any]]):
    """An object whatever it holds."""


def parse_object(body: bytes, *, example: str) -> dict[str, Any]:
    """Read an object that is to be completed before it is held against a model; raises as `parse_body`."""
    return parse_body(body, _AnyObject, example=example).root


def parse_body(body: bytes, model: type[Model], *, example: str) -> Model:
    """Read an object of a strict model; `example` is what the answer to an empty body suggests.

    Raises:
        Problem: `invalid_json` with the position, or `validation_error` with every wrong field.
    """
    try:
        read = model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            _refuse_syntax(body, found[0].get("ctx", {}).get("error", "it can't be parsed"), example)
        refuse_ambiguous(body, example)
        raise invalid(field_errors(found, root=("body",), model=model)) from None
    refuse_ambiguous(body, example)
    return read


def _refuse_syntax(body: bytes, reason: str, example: str) -> NoReturn:
    if not body.strip():
        raise Problem("invalid_json", f"the body is empty; send an object such as {example}")
    try:
        body.decode()
    except UnicodeDecodeError as wrong:
        raise Problem("invalid_json", f"the body is not UTF-8: byte {wrong.start + 1} can't be read") from None
    if body.startswith(BOM_UTF8):
        raise Problem("invalid_json", "the body begins with a byte order mark; leave these three bytes out")
    raise Problem("invalid_json", f"the body is not JSON: {reason}")


def refuse_ambiguous(body: bytes, example: str) -> None:
    """Refuse what readers of JSON understand differently: names given twice, NaN, endless numbers."""
    try:
        parsed = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except ValueError as error:
        raise Problem("invalid_json", f"the body is not JSON that every reader understands alike: {error}") from None
    if not isinstance(parsed, dict):
        raise Problem("invalid_json", f"the body must be an object at line 1 column 1, such as {example}")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(members)
    if len(result) != len(members):
        seen: set[str] = set()
        for name, _ in members:
            if name in seen:
                raise ValueError(f"the name {name[:80]!r} is given twice")
            seen.add(name)
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _too_large(most_bytes: int) -> Problem:
    headers = {"Connection": "close"}  # the rest of the body is not worth reading
    return Problem("body_too_large", f"a body may have {most_bytes} bytes at most", headers=headers)
