"""The asyncio client driven from ordinary tests, so that one test holds for both clients; and transports that fail."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import httpx

from darkroom.client import AsyncClient

T = TypeVar("T")


class Awaited:
    """An `AsyncClient` with the blocking client's manners: each call runs in a loop of its own until it is done."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*arguments, **named)

    def __repr__(self) -> str:
        return repr(self._client)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            answer = method(*arguments, **named)
            return self._runner.run(answer) if inspect.iscoroutine(answer) else self._items(answer)

        return call

    def _items(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> tuple[T] | None:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

        try:
            while found := self._runner.run(following()):
                yield found[0]
        finally:
            self._runner.run(items.aclose())  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the client and its loop."""
        self._runner.run(self._client.close())
        self._runner.close()


class LosesAnswers(httpx.BaseTransport):
    """Lets requests through and loses the answers of the first ones, as a connection that breaks does."""

    def __init__(self, times: int = 1, *, only: str = "POST") -> None:
        self._left = times
        self._only = only
        self._real = httpx.HTTPTransport()
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; maybe say that the connection was reset."""
        self.seen.append(request)
        response = self._real.handle_request(request)
        if request.method == self._only and self._left:
            self._left -= 1
            response.read()
            response.close()
            raise httpx.ReadError("reset", request=request)
        return response

    def close(self) -> None:
        """Close the connections."""
        self._real.close()


class LosesAnswersAsync(httpx.AsyncBaseTransport):
    """The same for the asyncio client."""

    def __init__(self, times: int = 1, *, only: str = "POST") -> None:
        self._left = times
        self._only = only
        self._real = httpx.AsyncHTTPTransport()
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; maybe say that the connection was reset."""
        self.seen.append(request)
        response = await self._real.handle_async_request(request)
        if request.method == self._only and self._left:
            self._left -= 1
            await response.aread()
            await response.aclose()
            raise httpx.ReadError("reset", request=request)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._real.aclose()
