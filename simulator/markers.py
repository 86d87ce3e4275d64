"""Faults written into a prompt: `a fox [[sim:fail=1200]] at night [[sim:error_before=503,times=2]]`.

`[[sim:kind]]`, `[[sim:kind=value]]` or `[[sim:kind=value,field=value,x2]]`; `xN` is short for `times=N`, and
`times=all` never stops. Faults of a call strike once per prompt text unless told otherwise, so that a client that
tries again gets through; faults of a task, a file or a callback always strike.
"""

from __future__ import annotations

import dataclasses
import re
from functools import lru_cache
from typing import Any

from simulator.faults import KINDS, Fault, FaultError, make_fault

_MARKER = re.compile(r"\[\[sim:([^\[\]]*)\]\]")
_REPEAT = re.compile(r"x(\d+)")
_TEXT_FIELDS = {"call", "variant", "shape"}


def markers_of(prompt: str) -> tuple[Fault, ...]:
    """Return the faults written into a prompt, in order; raise `FaultError` for one that makes no sense."""
    return _parse(prompt) if "[[sim:" in prompt else ()


def without_markers(prompt: str) -> str:
    """Return the prompt as a person would have meant it, for drawing."""
    return " ".join(_MARKER.sub(" ", prompt).split()) if "[[sim:" in prompt else prompt


@lru_cache(maxsize=4096)
def _parse(prompt: str) -> tuple[Fault, ...]:
    return tuple(_parse_one(match[1]) for match in _MARKER.finditer(prompt))


def _parse_one(text: str) -> Fault:
    head, *rest = (part.strip() for part in text.split(","))
    kind, equals, value = head.partition("=")
    kind = kind.strip()
    known = KINDS.get(kind)
    if known is None:
        raise FaultError(f"unknown marker [[sim:{text}]]; docs/simulator.md has those there are")
    fields: dict[str, Any] = {}
    if equals:
        if known.primary is None:
            raise FaultError(f"marker '{kind}' takes no value")
        fields[known.primary] = _value(known.primary, value.strip())
    times: int | None = 1 if known.is_transient else None
    for part in rest:
        if repeat := _REPEAT.fullmatch(part):
            times = int(repeat[1])
            continue
        name, _, value = part.partition("=")
        if name == "times":
            times = None if value == "all" else _integer(value)
        else:
            fields[name] = _value(name, value)
    if fields.get("index") == "all":
        del fields["index"]
    return dataclasses.replace(make_fault(kind, **fields), times=times)


def _value(name: str, text: str) -> Any:
    if name in _TEXT_FIELDS or text == "all":
        return text
    if name == "status" and not text.isdigit():
        return text
    if name in ("seconds", "probability"):
        try:
            return float(text)
        except ValueError as error:
            raise FaultError(f"'{text}' is not a number") from error
    return _integer(text)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise FaultError(f"'{text}' is not a whole number") from error
