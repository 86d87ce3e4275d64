"""Structured log lines, one wide line per thing that happened; never a secret, a body or a URL's query."""

import logging
import sys
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import ExcInfo


def configure_logging(log_format: Literal["console", "json"] = "console", *, level: int = logging.INFO) -> None:
    """Send every log line, the libraries' too, to standard error in one form."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in (
        "httpx",
        "httpcore",
        "botocore",
        "boto3",
        "urllib3",
        "aiohttp.access",
        "celery.worker.strategy",
        "celery.app.trace",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _plain(file: TextIO, error: ExcInfo) -> None:
    """Write a traceback without the frames' variables: they may hold keys and signed addresses."""
    structlog.dev.plain_traceback(file, error)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Give a logger whose lines carry `name`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
