"""A tiny process that outlives the supervisor by a moment and takes what is left of its children with it.

Run as a script with a pipe from the supervisor as its input: `+PID` and `-PID` lines name the process groups that are
alive. The end of the input means that the supervisor is gone, by `kill -9` perhaps, and every group left is killed.
Unlike the kernel's parent-death signal this reaches grandchildren, and works on macOS.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable


class Leash:
    """The supervisor's end: tell it which process groups live."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._pipe = os.fdopen(writing, "wb", buffering=0)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=reading, stdout=subprocess.DEVNULL, start_new_session=True
        )
        os.close(reading)

    def add(self, group: int) -> None:
        """Have a process group killed if this process ends before `remove`."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Forget a process group that has ended."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Let go: groups not removed are killed."""
        self._pipe.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        # Without its leash the stack still runs and stops; only a kill -9 would then spare grandchildren.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(line.encode())


def hold(lines: Iterable[str]) -> None:
    """Follow the lines to their end, then kill what they left alive."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    hold(sys.stdin)
