"""What is said of a piece of work that ended in an exception: its lease lapses, and it is taken up again."""

from typing import Any

from redis.exceptions import ReadOnlyError
from structlog.stdlib import BoundLogger

from darkroom.errors import StaleLeaseError
from darkroom.store.connection import UNAVAILABLE


def note_mishap(log: BoundLogger, stage: str, error: BaseException, **fields: Any) -> None:
    """Write one line when Redis was away, which heals by itself, and the traceback for a mistake of this program."""
    if isinstance(error, StaleLeaseError):
        log.info(f"{stage}.taken_over", **fields)
    elif isinstance(error, (*UNAVAILABLE, ReadOnlyError)):
        log.warning(f"{stage}.interrupted", error=str(error), **fields)
    else:
        log.error(f"{stage}.crashed", exc_info=error, **fields)
