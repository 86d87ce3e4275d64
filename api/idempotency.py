"""The header that lets a call be repeated without doing twice what it does."""

import re

from fastapi import Request

from api.problems import Problem

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key(request: Request) -> str | None:
    """Give the call's key; None where it has none.

    Raises:
        Problem: `invalid_idempotency_key`.
    """
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    if len(values) > 1 or not _VISIBLE_ASCII.fullmatch(values[0]):
        raise Problem("invalid_idempotency_key", "send one key of 1 to 255 visible ASCII characters, without blanks")
    return values[0]
