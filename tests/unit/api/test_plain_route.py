"""A plain route's function is called directly where FastAPI would solve and serialize nothing, and only there."""

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.responses import PlainTextResponse

from api.plain_route import PlainRoute

router = APIRouter(route_class=PlainRoute)


async def plain(request: Request) -> Response:
    """Take the request alone."""
    return PlainTextResponse(request.url.path)


async def solved(request: Request, number: int) -> Response:
    """Take a parameter."""
    return PlainTextResponse(str(number + 1))


async def serialized(request: Request) -> dict[str, str]:
    """Give what is to be serialized."""
    return {"path": request.url.path}


def refused() -> None:
    """Depend on what fails."""
    raise ZeroDivisionError


@pytest.mark.parametrize(("function", "direct"), [(plain, True), (solved, False), (serialized, False)])
def test_which_functions_are_called_directly(function: object, *, direct: bool) -> None:
    route = PlainRoute("/x", function)  # type: ignore[arg-type]
    assert (route.get_route_handler() is function) is direct


def test_a_dependency_is_never_skipped() -> None:
    route = PlainRoute("/x", plain, dependencies=[Depends(refused)])
    assert route.get_route_handler() is not plain


async def test_all_answer_as_ever() -> None:
    for path, function in (("/plain", plain), ("/solved", solved), ("/serialized", serialized)):
        router.get(path)(function)
    app = FastAPI()
    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/plain")).text == "/plain"
        assert (await client.get("/solved?number=1")).text == "2"
        assert (await client.get("/solved?number=x")).status_code == 422
        assert (await client.get("/serialized")).json() == {"path": "/serialized"}
