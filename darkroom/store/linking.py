"""Puts before a script's body what it uses of the shared part, and what that uses in turn, and nothing else.

Lua makes every local function anew at each call, and allows a script 200 locals: the whole shared part before each
script would cost most of a short call's time, and would not fit.
"""

import re
from dataclasses import dataclass
from functools import cache

_COMMENT = re.compile(r"--.*")
_DEFINED = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Definition:
    """One top-level `local` of the shared part: the names that it gives, and all names that stand in it."""

    text: str
    gives: frozenset[str]
    mentions: frozenset[str]


def link(library: str, body: str) -> str:
    """Give the needed part of `library` and then `body`.

    A definition mentions only what stands before it, as Lua demands of locals, so one walk back finds all that is used.
    """
    wanted = _names(body)
    needed = []
    for definition in reversed(_definitions(library)):
        if definition.gives & wanted:
            needed.append(definition.text)
            wanted |= definition.mentions
    return "\n".join([*reversed(needed), body])


@cache
def _definitions(library: str) -> tuple[Definition, ...]:
    starts = [match.start() for match in re.finditer(r"^local ", library, re.MULTILINE)]
    texts = [library[start:end] for start, end in zip(starts, [*starts[1:], len(library)], strict=True)]
    return tuple(_definition(_COMMENT.sub("", text).rstrip()) for text in texts)


def _definition(text: str) -> Definition:
    found = _DEFINED.match(text)
    if found is None:
        raise ValueError(f"no definition: {text[:80]}")
    return Definition(text, frozenset(found[1].split(", ")), frozenset(_names(text)))


def _names(text: str) -> set[str]:
    return set(_NAME.findall(_COMMENT.sub("", text)))
