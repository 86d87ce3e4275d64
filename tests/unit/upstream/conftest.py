"""Answers made of the shared samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from darkroom.upstream.mapping import Answer
from darkroom.upstream.reading import DocumentReader

SAMPLES = Path(__file__).parents[2] / "samples"

AnswerOf = Callable[..., Answer]


@pytest.fixture
def sample() -> Callable[[str], bytes]:
    """Give the bytes of a shared sample by its name without the ending."""
    return lambda name: (SAMPLES / f"{name}.json").read_bytes()


@pytest.fixture
def answer_of() -> AnswerOf:
    """Make an answer of a status and a body: bytes as they come, anything else as JSON."""

    def make(status: int, body: Any, **more: Any) -> Answer:
        reader = DocumentReader()
        reader.feed(body if isinstance(body, bytes) else orjson.dumps(body))
        return Answer(status, reader.finish(), **more)

    return make
