"""Answers that go on for long: a job's events and a batch's results, taken up again where they broke off."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel

from darkroom.batches import BatchResult
from darkroom.client import calls
from darkroom.client.answers import Answer, error_of, read_model
from darkroom.client.calls import Call
from darkroom.client.steps import backoff_s, pause_s, safe_to_repeat
from darkroom.errors import DarkroomError
from darkroom.jobs import JobStatus

T = TypeVar("T")
NO_CONTENT = 204


class StatusChange(BaseModel):
    """One status that a job has had; `id` is what `last_event_id` takes."""

    job_id: str
    status: JobStatus
    at: datetime
    attempt: int
    id: str = ""


class LineSplitter:
    """Cuts bytes into lines at LF alone: JSON may hold other characters that text calls line ends."""

    def __init__(self) -> None:
        self._held = bytearray()

    def push(self, chunk: bytes) -> Iterator[bytes]:
        """Give the lines that are whole now, without their ends."""
        self._held += chunk
        *whole, rest = self._held.split(b"\n")
        self._held = bytearray(rest)
        for line in whole:
            yield bytes(line.removesuffix(b"\r"))


class Feed(ABC, Generic[T]):
    """A long answer as its reader sees it: `call` opens it (again), `push` takes what comes, `done` says that it ended.

    A connection that broke is opened again `retries` times in a row without anything having come.
    """

    def __init__(self, retries: int) -> None:
        self.done = False
        self._retries = retries
        self._failures = 0
        self._lines = LineSplitter()

    @abstractmethod
    def call(self) -> Call[None]:
        """Give what to ask for, after what has been seen."""

    @abstractmethod
    def line(self, line: bytes) -> T | None:
        """Take one line."""

    @abstractmethod
    def ended(self) -> None:
        """Note that the service has ended the answer by itself."""

    def opened(self, answer: Answer) -> DarkroomError | None:
        """Judge how the answer begins (its body only where it is an error); None: go on and read."""
        self._lines = LineSplitter()
        problem = error_of(answer)
        self.done = problem is None and answer.status == NO_CONTENT
        return problem

    def push(self, chunk: bytes) -> Iterator[T]:
        """Give what is whole now."""
        for line in self._lines.push(chunk):
            item = self.line(line)
            if item is not None:
                self._failures = 0
                yield item

    def pause_s(self, problem: DarkroomError | None) -> float:
        """Give how long to wait before it is opened again; `problem` is None where it just ended.

        Raises:
            DarkroomError: the problem, where opening it again would not help.
        """
        if problem is None:
            return backoff_s(1)
        if self._failures >= self._retries or not safe_to_repeat(self.call(), problem):
            raise problem
        pause = pause_s(problem, self._failures)
        self._failures += 1
        return pause


@dataclass(slots=True)
class _Event:
    id: str = ""
    kind: str = ""
    data: str = ""


class EventFeed(Feed[StatusChange]):
    """A job's status changes as Server-Sent Events (HTML, 9.2.6), up to the one that is its end."""

    def __init__(self, job_id: str, last_event_id: str | None, retries: int) -> None:
        super().__init__(retries)
        self._job_id = job_id
        self._last_id = last_event_id
        self._event = _Event()
        self._terminal = False

    def call(self) -> Call[None]:
        """Open the events after the last one that was seen."""
        return calls.follow_job(self._job_id, self._last_id)

    def opened(self, answer: Answer) -> DarkroomError | None:
        """Start with no half event."""
        self._event = _Event()
        return super().opened(answer)

    def line(self, line: bytes) -> StatusChange | None:
        """Take a field, or the empty line that ends an event."""
        if not line:
            event, self._event = self._event, _Event()
            return self._change(event)
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._event.id = value
        elif name == "event":
            self._event.kind = value
        elif name == "data":
            self._event.data += value
        elif not name:
            self._failures = 0  # a sign of life
        return None

    def ended(self) -> None:
        """It is over only after a terminal status; a service that is being stopped ends it before."""
        self.done = self.done or self._terminal

    def _change(self, event: _Event) -> StatusChange | None:
        if event.kind != "job.status" or not event.data:
            return None
        change = read_model(event.data.encode(), StatusChange).model_copy(update={"id": event.id})
        self._last_id = event.id or self._last_id
        self._terminal = change.status.terminal
        return change


class ResultFeed(Feed[BatchResult]):
    """The finished jobs of a batch, in the order of its lines."""

    def __init__(self, batch_id: str, after: int, retries: int) -> None:
        super().__init__(retries)
        self._batch_id = batch_id
        self._after = after

    def call(self) -> Call[None]:
        """Open the results after the last line that was seen."""
        return calls.batch_results(self._batch_id, self._after)

    def line(self, line: bytes) -> BatchResult | None:
        """Take one result."""
        if not line.strip():
            return None
        result = read_model(line, BatchResult)
        self._after = result.line
        return result

    def ended(self) -> None:
        """There are no more."""
        self.done = True
