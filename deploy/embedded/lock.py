"""One stack on one data directory at a time.

The lock is inherited by every process of the stack, so it is free only when the last of them is gone: a stack started
right after the `kill -9` of another can't meet the other's Valkey still writing to the same files.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.errors import ConfigurationError

_DYING_TIMEOUT_S = 10.0


@contextmanager
def locked(data_dir: Path) -> Iterator[int]:
    """Hold the directory's lock; yields its file descriptor, for children to inherit.

    Raises:
        ConfigurationError: another stack holds it.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, data_dir)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, data_dir: Path) -> None:
    deadline = time.monotonic() + _DYING_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            if _lives(holder) or time.monotonic() > deadline:
                raise ConfigurationError(
                    [
                        f"DARKROOM_DATA_DIR: {data_dir} is in use by another `darkroom up` (process {holder}); "
                        "stop it, or set another directory"
                    ]
                ) from None
            time.sleep(0.05)  # its supervisor is dead, its children are dying
        else:
            return


def _holder(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _lives(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
