"""Outermost ASGI middleware: a request id, HEAD, no caching of what changes, durations, and the last word on errors."""

import re
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import DURATION
from api.problems import Problem
from darkroom.telemetry.logs import get_logger

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")

log = get_logger(__name__)


class Envelope:
    """Wraps every HTTP request; logs one line for an answer of 500 and above, and nothing that a caller sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = _Sent(send, _request_id(scope), head=scope["method"] == "HEAD", path=scope["path"])
        inner = {**scope, "method": "GET", "darkroom.head": True} if sent.head else scope
        started = time.perf_counter()
        try:
            await self.app(inner, receive, sent)
            if sent.status >= 500:
                log.warning("request_failed", status=sent.status, **_who(inner, sent))
        except ClientDisconnect:
            log.info("request_broken_off", **_who(inner, sent))  # nobody is there to be answered
        except Exception:
            log.exception("request_crashed", **_who(inner, sent))
            if sent.status:
                raise
            crash = Problem("internal_error", f"quote request id {sent.request_id} when you report this")
            await crash.response()(inner, receive, sent)
        finally:
            took_s = time.perf_counter() - started
            DURATION.labels(_method(scope), _route(inner), str(sent.status)).observe(took_s)


class _Sent:
    """Passes an answer on, completed; remembers its status (0: nothing sent)."""

    def __init__(self, send: Send, request_id: str, *, head: bool, path: str) -> None:
        self._send = send
        self._private = path.startswith("/v1/")
        self.request_id = request_id
        self.head = head
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            headers["X-Request-Id"] = self.request_id
            if self._private:
                headers.setdefault("Cache-Control", "no-store")
        elif self.head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return f"req_{secrets.token_hex(12)}"


def _who(scope: Scope, sent: _Sent) -> dict[str, str]:
    return {"method": scope["method"], "route": _route(scope), "request_id": sent.request_id}


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "(other)"


def _route(scope: Scope) -> str:
    """Name the route by its template: ids in labels would make a time series a job."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "(none)"
