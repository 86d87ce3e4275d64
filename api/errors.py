"""Turns what routes raise into problems, and makes the framework's own errors problems too."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from api.problems import Problem, problem_of
from darkroom.errors import DarkroomError

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def install(app: FastAPI) -> None:
    """Register the handlers; an error that is none of these is a bug and goes on to the outermost middleware."""
    for kind in (Problem, HTTPException, RequestValidationError, DarkroomError, RedisError):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return _other_method(request)
    problem = problem_of(error)
    if problem is None:
        raise error
    return problem.response()


def _other_method(request: Request) -> Response:
    """Answer a method that is not there with those that are; OPTIONS asks for just that."""
    allowed = [method for method in _METHODS if _matches(request, method)]
    if "GET" in allowed:
        allowed.append("HEAD")
    headers = {"Allow": ", ".join([*allowed, "OPTIONS"])}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    return Problem("method_not_allowed", f"allowed here: {headers['Allow']}", headers=headers).response()


def _matches(request: Request, method: str) -> bool:
    scope = {"type": "http", "method": method, "path": request.scope["path"], "root_path": "", "path_params": {}}
    scope["app"] = request.app
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)
