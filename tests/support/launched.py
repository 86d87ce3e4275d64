"""Any program that says where it listens, run as a process of its own with its output kept."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.waiting import wait_until

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
START_S = 30.0
END_S = 20.0


class Launched:
    """A running program; `out` and `err` hold the lines it has said so far."""

    def __init__(self, command: Sequence[str], directory: Path, env: dict[str, str]) -> None:
        self.popen = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        pairs = ((self.popen.stdout, self.out), (self.popen.stderr, self.err))
        self._readers = [threading.Thread(target=_read, args=pair, daemon=True) for pair in pairs]
        for reader in self._readers:
            reader.start()

    @property
    def output(self) -> str:
        """Everything it has said, for messages of failing tests."""
        return "".join([*self.err, *self.out])

    @property
    def url(self) -> str:
        """Where it listens, once it has said so."""

        def said() -> str | None:
            found = _ADDRESS.search(self.output)
            assert found or self.popen.poll() is None, f"it ended: {self.output}"
            return f"{found[0]}/" if found else None

        return wait_until(said, START_S, what=f"{self.popen.args} to listen") or ""

    def wait(self) -> int:
        """Wait for its end and give the exit code; all its output is there then."""
        code = self.popen.wait(END_S)
        for reader in self._readers:
            reader.join(END_S)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal, hard where that does not do; give the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.wait()
            raise


@contextmanager
def launched(command: Sequence[str], directory: Path, **env: str) -> Iterator[Launched]:
    """Run a program in a directory for the time of a block."""
    program = Launched(command, directory, env)
    try:
        yield program
    finally:
        program.stop()


def _read(stream: IO[str], lines: list[str]) -> None:
    with stream:
        lines.extend(iter(stream.readline, ""))
