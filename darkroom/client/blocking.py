"""Does what the steps ask for, by blocking. All decisions are in `steps`, `feeds` and `downloads`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from darkroom.client.answers import Answer, Page
from darkroom.client.calls import MOST_PAGE, Call
from darkroom.client.config import Config, answer_of
from darkroom.client.feeds import Feed
from darkroom.client.quiet import install, quiet
from darkroom.client.steps import Fetch, Outcome, Pause, Step, Steps, request
from darkroom.errors import DarkroomError

T = TypeVar("T")


class Blocking:
    """One pool of connections. Threads may share it."""

    def __init__(self, config: Config, transport: httpx.BaseTransport | None) -> None:
        install()
        self.config = config
        self._http = httpx.Client(
            timeout=config.timeout, limits=config.limits, headers=config.headers, transport=transport
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, call: Call[T]) -> T:
        """Make one call, with its repeats."""
        return self.run(request(call, self.config.retries))

    def run(self, steps: Steps[T]) -> T:
        """Do what the steps ask for until they give their result."""
        outcome: Outcome | None = None
        try:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                outcome = self._do(step)
        finally:
            steps.close()

    def pages(self, page_of: Callable[[str | None, int], Call[Page[T]]], limit: int | None) -> Iterator[T]:
        """Give the items of all pages, `limit` at most."""
        cursor, left = None, limit
        while left is None or left > 0:
            page = self.call(page_of(cursor, MOST_PAGE if left is None else min(left, MOST_PAGE)))
            yield from page.data
            left = None if left is None else left - len(page.data)
            cursor = page.next_cursor
            if cursor is None:
                return

    def follow(self, feed: Feed[T]) -> Iterator[T]:
        """Give what a long answer yields, opened again where it breaks off."""
        while not feed.done:
            problem: DarkroomError | None = None
            try:
                with self._open(feed.call()) as response:
                    if response.status_code != 200:
                        response.read()
                    problem = feed.opened(answer_of(response, whole=response.status_code != 200))
                    if problem is None:
                        for chunk in response.iter_bytes():
                            yield from feed.push(chunk)
                        feed.ended()
            except httpx.RequestError as error:
                problem = self.config.failed(error)
            if not feed.done:
                time.sleep(feed.pause_s(problem))

    def _do(self, step: Step) -> Outcome | None:
        match step:
            case Pause():
                time.sleep(step.seconds)
                return None
            case Fetch():
                return self._fetch(step)
            case Call():
                return self._send(step)

    def _send(self, call: Call[Any]) -> Outcome:
        try:
            with self._open(call) as response:
                response.read()
                return answer_of(response)
        except httpx.RequestError as error:
            return self.config.failed(error)

    @contextmanager
    def _open(self, call: Call[Any]) -> Iterator[httpx.Response]:
        body = call.body
        sent = self._http.build_request(
            call.method,
            f"{self.config.url}{call.path}",
            params=call.query or None,
            headers=self.config.authorized(call),
            content=body if isinstance(body, bytes) or body is None else body.chunks(),
            timeout=self.config.timeout_of(call),
        )
        with quiet():
            response = self._http.send(sent, stream=True)
        try:
            yield response
        finally:
            response.close()

    def _fetch(self, fetch: Fetch) -> Outcome:
        try:
            sent = self._http.build_request("GET", fetch.url, headers={"Accept-Encoding": "identity"})
            with quiet():
                response = self._http.send(sent, stream=True, follow_redirects=True)
            try:
                if response.status_code == 200:
                    for chunk in response.iter_bytes():
                        fetch.part.write(chunk)
                return Answer(response.status_code)
            finally:
                response.close()
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return self.config.fetch_failed(error)
