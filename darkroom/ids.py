"""Prefixed ids that sort by the time they were made (ULIDs), rising strictly within one process."""

import threading
import time
from functools import lru_cache

from ulid import ULID

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Make `<prefix>_<ULID>`, e.g. `job_01J…`; later calls of this process sort after earlier ones."""
    global _last
    fresh = int.from_bytes(ULID().bytes, "big")
    with _lock:
        _last = max(fresh, _last + 1)
        value = _last
    return f"{prefix}_{ULID(value.to_bytes(16, 'big'))}"


@lru_cache(maxsize=4096)
def id_time_ms(identifier: str) -> int:
    """Give the Unix time in milliseconds at which an id of `new_id` was made.

    Raises:
        ValueError: not such an id.
    """
    return ULID.from_str(identifier.rpartition("_")[2]).milliseconds


def id_floor(prefix: str, time_ms: int) -> str:
    """Give the lowest id that could have been made at `time_ms`: a bound for range queries."""
    return f"{prefix}_{ULID((time_ms << 80).to_bytes(16, 'big'))}"


def now_ms() -> int:
    """Unix time in milliseconds by this machine's clock; never used to decide what is due."""
    return time.time_ns() // 1_000_000
