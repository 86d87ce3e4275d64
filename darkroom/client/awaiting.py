"""Does what the steps ask for, by awaiting. All decisions are in `steps`, `feeds` and `downloads`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from darkroom.client.answers import Answer, Page
from darkroom.client.calls import MOST_PAGE, Body, Call
from darkroom.client.config import Config, answer_of
from darkroom.client.feeds import Feed
from darkroom.client.quiet import install, quiet
from darkroom.client.steps import Fetch, Outcome, Pause, Step, Steps, request
from darkroom.errors import DarkroomError

T = TypeVar("T")


class Awaiting:
    """One pool of connections, for one event loop."""

    def __init__(self, config: Config, transport: httpx.AsyncBaseTransport | None) -> None:
        install()
        self.config = config
        self._http = httpx.AsyncClient(
            timeout=config.timeout, limits=config.limits, headers=config.headers, transport=transport
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, call: Call[T]) -> T:
        """Make one call, with its repeats."""
        return await self.run(request(call, self.config.retries))

    async def run(self, steps: Steps[T]) -> T:
        """Do what the steps ask for until they give their result."""
        outcome: Outcome | None = None
        try:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                outcome = await self._do(step)
        finally:
            steps.close()

    async def pages(self, page_of: Callable[[str | None, int], Call[Page[T]]], limit: int | None) -> AsyncIterator[T]:
        """Give the items of all pages, `limit` at most."""
        cursor, left = None, limit
        while left is None or left > 0:
            page = await self.call(page_of(cursor, MOST_PAGE if left is None else min(left, MOST_PAGE)))
            for item in page.data:
                yield item
            left = None if left is None else left - len(page.data)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def follow(self, feed: Feed[T]) -> AsyncIterator[T]:
        """Give what a long answer yields, opened again where it breaks off."""
        while not feed.done:
            problem: DarkroomError | None = None
            try:
                async with self._open(feed.call()) as response:
                    if response.status_code != 200:
                        await response.aread()
                    problem = feed.opened(answer_of(response, whole=response.status_code != 200))
                    if problem is None:
                        async for chunk in response.aiter_bytes():
                            for item in feed.push(chunk):
                                yield item
                        feed.ended()
            except httpx.RequestError as error:
                problem = self.config.failed(error)
            if not feed.done:
                await asyncio.sleep(feed.pause_s(problem))

    async def _do(self, step: Step) -> Outcome | None:
        match step:
            case Pause():
                await asyncio.sleep(step.seconds)
                return None
            case Fetch():
                return await self._fetch(step)
            case Call():
                return await self._send(step)

    async def _send(self, call: Call[Any]) -> Outcome:
        try:
            async with self._open(call) as response:
                await response.aread()
                return answer_of(response)
        except httpx.RequestError as error:
            return self.config.failed(error)

    @asynccontextmanager
    async def _open(self, call: Call[Any]) -> AsyncIterator[httpx.Response]:
        body = call.body
        sent = self._http.build_request(
            call.method,
            f"{self.config.url}{call.path}",
            params=call.query or None,
            headers=self.config.authorized(call),
            content=body if isinstance(body, bytes) or body is None else _chunks(body),
            timeout=self.config.timeout_of(call),
        )
        with quiet():
            response = await self._http.send(sent, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _fetch(self, fetch: Fetch) -> Outcome:
        try:
            sent = self._http.build_request("GET", fetch.url, headers={"Accept-Encoding": "identity"})
            with quiet():
                response = await self._http.send(sent, stream=True, follow_redirects=True)
            try:
                if response.status_code == 200:
                    async for chunk in response.aiter_bytes():
                        fetch.part.write(chunk)
                return Answer(response.status_code)
            finally:
                await response.aclose()
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return self.config.fetch_failed(error)


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    for chunk in body.chunks():
        yield chunk
