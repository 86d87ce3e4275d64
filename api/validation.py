"""What pydantic finds wrong, in words that say how to mend it. Never repeats the caller's values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

MOST_ERRORS = 100
LONGEST_NAME = 80

_MESSAGES = {
    "missing": "is required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number that is not as long",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object of text values",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "string_too_short": "must not be empty",
    "string_too_long": "must have {max_length} characters or fewer",
    "too_short": "must have at least {min_length} of them",
    "too_long": "must have {max_length} entries or fewer",
    "string_pattern_mismatch": "has the wrong form",
    "date_from_datetime_parsing": "must be a day such as 2026-11-22",
    "date_from_datetime_inexact": "must be a day such as 2026-11-22",
    "date_parsing": "must be a day such as 2026-11-22",
    "literal_error": "must be one of {expected}",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong: where, and how to mend it."""

    loc: tuple[str | int, ...]
    msg: str


def field_errors(
    found: Iterable[Mapping[str, Any]], *, root: Sequence[str | int] = (), model: type[BaseModel] | None = None
) -> list[FieldError]:
    """Turn pydantic's errors into ours, 100 at most; `model` gives the names to suggest for an unknown field."""
    errors = []
    for error in found:
        loc = tuple(_short(part) for part in error["loc"] if part != "[key]")
        of_key = "[key]" in error["loc"]
        message = _message(error, model)
        errors.append(FieldError((*root, *loc), f"its key {message}" if of_key else message))
        if len(errors) == MOST_ERRORS:
            break
    return errors


def _message(error: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown(error["loc"], model)
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    template = _MESSAGES.get(kind)
    limits = {name: _plain(value) for name, value in error.get("ctx", {}).items()}
    return template.format(**limits) if template else _lower(str(error["msg"]))


def _plain(value: object) -> object:
    """Give 60.0 as 60, which is how one would write it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unknown(loc: Sequence[str | int], model: type[BaseModel] | None) -> str:
    if model is None or len(loc) != 1:
        return "is not known; leave it out"
    return unknown_name(str(loc[0]), list(model.model_fields))


def unknown_name(name: str, known: Sequence[str]) -> str:
    """Say that a name is not known, with the one that may have been meant or else all there are."""
    close = get_close_matches(name[:LONGEST_NAME], known, n=1)
    return f"is not known; did you mean {close[0]}?" if close else f"is not known; known are {', '.join(known)}"


def _short(part: str | int) -> str | int:
    return part if isinstance(part, int) or len(part) <= LONGEST_NAME else f"{part[:LONGEST_NAME]}…"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
