"""Query parameters that a call does not know or is given twice: none must silently mean nothing."""

from collections import Counter
from collections.abc import Sequence

from fastapi import Request

from api.problems import invalid
from api.validation import FieldError, unknown_name


def refuse_unknown(request: Request, known: Sequence[str]) -> None:
    """Refuse parameters other than these, and these given more than once.

    Raises:
        Problem: `validation_error`, naming each and the one that may have been meant.
    """
    given = Counter(name for name, _ in request.query_params.multi_items())
    wrong = [FieldError(("query", name[:80]), unknown_name(name, known)) for name in given if name not in known]
    wrong += [FieldError(("query", name), "must be given once") for name in known if given[name] > 1]
    if wrong:
        raise invalid(wrong)
