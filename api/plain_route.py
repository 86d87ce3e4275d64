"""Routes whose function takes the request alone and gives a response: FastAPI documents them, and only that."""

from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class PlainRoute(APIRoute):
    """Calls such a function directly: solving the parameters of one that has none costs a tenth of a post.

    Dependencies of the route or its router are solved as ever; those given to `include_router` or to the application
    would not be, and there are none: who calls is decided by `Authentication`, around all routes.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give what answers a request: the function itself, where nothing is to be solved or serialized."""
        seen = signature(self.endpoint, eval_str=True)
        plain = list(seen.parameters) == ["request"] and seen.return_annotation is Response
        return self.endpoint if plain and not self.dependencies else super().get_route_handler()
