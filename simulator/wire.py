"""The shapes of upstream's answers: the envelope, the three kinds of error, and the text of every task error code."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

MODEL = "bytedance/seedream-v4.5/sequential"

#: Task error code → the text that comes with it (1200 and 5000 as in the vendor's documentation).
TASK_ERRORS: dict[int, str] = {
    1200: "The content may contain sensitive information.",
    1400: "Missing required parameter.",
    1401: "Invalid parameter value.",
    1402: "Failed to access the media.",
    1403: "Task execution failed.",
    1405: "Task failed.",
    5000: "Internal error, please try again later.",
    5003: "Service unavailable, please try again later.",
    5004: "Task timed out, please try again later.",
}

_REASONS = {
    400: ("bad_request", "Bad Request"),
    401: ("unauthorized", "Unauthorized"),
    402: ("insufficient_balance", "Payment Required"),
    403: ("forbidden", "Forbidden"),
    404: ("not_found", "Not Found"),
    429: ("rate_limited", "Too Many Requests"),
    500: ("internal_error", "Internal Server Error"),
    502: ("bad_gateway", "Bad Gateway"),
    503: ("service_unavailable", "Service Unavailable"),
    504: ("gateway_timeout", "Gateway Time-out"),
}

_HTML = """<html>
<head><title>{status} {reason}</title></head>
<body>
<center><h1>{status} {reason}</h1></center>
<hr><center>gateway</center>
</body>
</html>
"""


def json_body(value: Any) -> bytes:
    """Encode compactly, as UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def success(data: Any) -> web.Response:
    """Wrap `data` in the success envelope."""
    return web.Response(
        body=json_body({"code": 200, "message": "success", "data": data}), content_type="application/json"
    )


def html_page(status: int) -> web.Response:
    """Answer as a gateway does: a page, not JSON."""
    reason = _REASONS.get(status, ("error", "Error"))[1]
    return web.Response(status=status, text=_HTML.format(status=status, reason=reason), content_type="text/html")


class ErrorShapes:
    """Build error answers, taking turns between the known shapes unless told which.

    The page of a gateway takes its turn only for 5xx, where a gateway would answer.
    """

    def __init__(self) -> None:
        self._turn = itertools.count()

    def error(
        self, status: int, text: str = "", *, shape: str = "rotate", headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """Return an error answer with `text`, or the status' own words."""
        code, reason = _REASONS.get(status, ("error", "Error"))
        if shape == "rotate":
            shape = ("message", "error", "html")[next(self._turn) % (3 if status >= 500 else 2)]
        if shape == "html" and status >= 500:
            response = html_page(status)
        else:
            body = {"error": text or reason} if shape == "error" else {"message": text or reason, "error_code": code}
            response = web.Response(status=status, body=json_body(body), content_type="application/json")
        response.headers.update(headers or {})
        return response
