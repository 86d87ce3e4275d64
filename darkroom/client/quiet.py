"""Keeps what this client's calls carry out of the logs of the HTTP library, which logs URLs and answers' headers.

A signed URL is as good as the image, and a query may hold a webhook's token. Other users of the library in the same
process are left alone: only records made under `quiet` are changed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

_quiet: ContextVar[bool] = ContextVar("darkroom_client_quiet", default=False)


class _WithoutQueries(logging.Filter):
    """Takes the query off URLs (httpx), and drops the lines that show answers' headers (httpcore)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change or drop a record of this client's."""
        if not _quiet.get():
            return True
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.copy_with(query=None, fragment=None) if isinstance(arg, httpx.URL) else arg for arg in record.args
            )
        return not record.getMessage().startswith("receive_response_headers.complete")


_FILTER = _WithoutQueries()
_LOGGERS = ("httpx", "httpcore.http11", "httpcore.http2", "httpcore.proxy")


def install() -> None:
    """Watch the library's loggers; once more does nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)


@contextmanager
def quiet() -> Iterator[None]:
    """Mark what is logged in this block as this client's."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)
