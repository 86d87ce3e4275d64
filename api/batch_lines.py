"""The lines of an NDJSON upload, cut from the body as it comes, each made a job request or what is wrong with it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from api.batch_options import validated
from api.body import EXAMPLE, MOST_BYTES, parse_job, parse_object
from api.problems import Problem, invalid
from api.services import Services
from api.validation import MOST_ERRORS, FieldError
from api.webhook_urls import require_allowed
from darkroom.jobs import JobRequest, Webhook
from darkroom.store.uploads import MOST_JOBS, MOST_LINES, Line

MOST_UPLOAD_BYTES = 200 * 2**20
LINES_AT_ONCE = 200
"""Lines read in one go: some milliseconds in which the process does nothing else."""


async def cut_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[tuple[int, bytes]]]:
    """Give each chunk's lines with their numbers, from 1, without blank ones; never more than a line is held back.

    A chunk may hold a hundred thousand short lines: they are given some at a time, and others go on in between.
    A line that is longer than a body of `POST /v1/jobs` may be is given as its beginning, which no job request is.
    """
    number, rest = 0, b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for first in range(0, len(lines), LINES_AT_ONCE):
            some = lines[first : first + LINES_AT_ONCE]
            yield [(number + place, line) for place, line in enumerate(some, 1) if line.strip()]
            number += len(some)
            await asyncio.sleep(0)
        if len(rest) > MOST_BYTES + 1:
            rest = rest[: MOST_BYTES + 1]
    if rest.strip():
        yield [(number + 1, rest)]


@dataclass(slots=True)
class LineReader:
    """Makes jobs of lines, and keeps what is wrong with those that are none (the first 100 errors)."""

    services: Services
    defaults: dict[str, Any]
    errors: list[FieldError] = field(default_factory=list)
    bad_lines: int = 0
    jobs: int = 0
    _names: dict[str, int] = field(default_factory=dict)
    _allowed: set[str] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether more errors would not be told any more."""
        return len(self.errors) >= MOST_ERRORS

    def read(self, number: int, text: bytes) -> Line | None:
        """Make one line a job; None: it is none, and what is wrong with it is noted."""
        if self.jobs >= MOST_JOBS or number > MOST_LINES:
            raise Problem(
                "too_many_lines", f"a batch may have {MOST_JOBS:,} jobs at most; send the rest as another one"
            )
        try:
            request = self._request(text)
            self._check_webhook(request.webhook)
            self._check_name(request.custom_id, number)
        except Problem as problem:
            self._note(number, problem)
            return None
        self.jobs += 1
        return Line.of(number, request)

    def _request(self, text: bytes) -> JobRequest:
        if len(text) > MOST_BYTES:
            raise Problem("body_too_large", f"a line may have {MOST_BYTES} bytes at most")
        if self.defaults:
            return validated(JobRequest, self.defaults | parse_object(text, example=EXAMPLE), ("body",))
        return parse_job(text)

    def _check_webhook(self, webhook: Webhook | None) -> None:
        if webhook is not None and webhook.url not in self._allowed:
            require_allowed(self.services, webhook, ("body", "webhook"))
            self._allowed.add(webhook.url)

    def _check_name(self, custom_id: str | None, number: int) -> None:
        if custom_id is None:
            return
        first = self._names.setdefault(custom_id, number)
        if first != number:
            raise invalid([FieldError(("body", "custom_id"), f"is the same as that of line {first}")])

    def _note(self, number: int, problem: Problem) -> None:
        self.bad_lines += 1
        wrong = problem.errors or [FieldError((), problem.detail.replace("the body", "the line"))]
        room = MOST_ERRORS - len(self.errors)
        self.errors += [FieldError(("line", number, *_field(error.loc)), error.msg) for error in wrong][:room]


def _field(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return loc[1:] if loc[:1] == ("body",) else loc
