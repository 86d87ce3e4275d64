"""What the API answers, as values: models, errors, and which answers are worth another try."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from darkroom.client.errors import OF_STATUS, ApiError, ServerFailed, UnreadableAnswer

Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a listing; `next_cursor` is None on the last one."""

    data: list[Item]
    next_cursor: str | None


def read_model(body: bytes, model: type[Model]) -> Model:
    """Read a model, passing over fields that a newer service may have added anywhere in it.

    Raises:
        UnreadableAnswer: it is not one.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
    if all(problem["type"] == "extra_forbidden" for problem in problems):
        plain = json.loads(body)
        for problem in problems:
            _drop(plain, problem["loc"])
        try:
            return model.model_validate_json(json.dumps(plain))
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
    first = problems[0]
    where = ".".join(map(str, first["loc"])) or "body"
    raise UnreadableAnswer(f"this is no {model.__name__} that this client understands: {where}: {first['msg']}")


def read_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object as it is.

    Raises:
        UnreadableAnswer: it is none.
    """
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise UnreadableAnswer("the answer is no JSON object; is this address Darkroom's?")
    return said


def read_page(body: bytes, model: type[Model]) -> Page[Model]:
    """Read one page of a listing; raises as `read_model`."""
    said = read_object(body)
    cursor = said.get("next_cursor")
    items = [read_model(json.dumps(item).encode(), model) for item in said.get("data", ())]
    return Page(items, cursor if isinstance(cursor, str) else None)


def error_of(answer: Answer) -> ApiError | None:
    """Give the error that an answer is; None for a success. A redirect is the caller's to expect."""
    if 200 <= answer.status < 300:
        return None
    try:
        said = read_object(answer.body)
    except UnreadableAnswer:
        said = {}
    errors = said.get("errors")
    return OF_STATUS.get(answer.status, ServerFailed)(
        str(said.get("code") or f"http_{answer.status}"),
        status=answer.status,
        detail=str(said.get("detail") or said.get("title") or _plain(answer.status)),
        errors=errors if isinstance(errors, list) else [],
        retry_after_s=retry_after_s(answer.headers.get("retry-after")),
    )


def retry_after_s(value: str | None) -> float | None:
    """Read a Retry-After header, seconds or a date (RFC 9110, 10.2.3); None where it says nothing."""
    if not value:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _plain(status: int) -> str:
    if 300 <= status < 400:
        return "the address leads elsewhere; set the one that it leads to"
    return "an answer that is not Darkroom's; is the address right, and is it reached without a detour?"


def _drop(plain: Any, loc: tuple[int | str, ...]) -> None:
    for part in loc[:-1]:
        if isinstance(plain, dict) and part not in plain:
            return
        plain = plain[part]
    plain.pop(loc[-1], None)
