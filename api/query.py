"""Query parameters that a call does not know: a misspelt one must not silently mean nothing."""

from collections.abc import Sequence

from fastapi import Request

from api.problems import invalid
from api.validation import FieldError, unknown_name


def refuse_unknown(request: Request, known: Sequence[str]) -> None:
    """Refuse parameters other than these.

    Raises:
        Problem: `validation_error`, naming each and the one that may have been meant.
    """
    wrong = dict.fromkeys(name for name in request.query_params if name not in known)
    if wrong:
        raise invalid([FieldError(("query", name[:80]), unknown_name(name, known)) for name in wrong])
