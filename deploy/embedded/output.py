"""The terminal of `darkroom up`: one line at a time, each with the name of the process that said it."""

import os
import sys
from collections import deque
from pathlib import Path
from typing import IO

_COLOURS = (36, 33, 32, 35, 34, 31)
_KEPT_LINES = 12
_LONGEST_LINE_BYTES = 64 * 1024


class Output:
    """Writes prefixed lines; colour only where a person looks. A reader that went away is no reason to stop."""

    def __init__(self, stream: IO[str] | None = None, *, width: int = 9) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._width = width
        self._colour = self._stream.isatty() and "NO_COLOR" not in os.environ
        self._names: dict[str, int] = {}

    def line(self, name: str, text: str) -> None:
        """Write one line of the process `name`."""
        prefix = f"{name:<{self._width}} | "
        if self._colour:
            number = self._names.setdefault(name, len(self._names))
            prefix = f"\033[{_COLOURS[number % len(_COLOURS)]}m{prefix}\033[0m"
        self.say(prefix + text)

    def say(self, text: str) -> None:
        """Write text of the stack itself."""
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._stream = Path(os.devnull).open("w")  # noqa: SIM115 - open until the process ends

    def emphasis(self, text: str) -> str:
        """Return the text so that it can't be overlooked."""
        return f"\033[1;30;43m {text} \033[0m" if self._colour else f"*** {text} ***"


class Lines:
    """Turns a child's bytes into lines for the terminal, or, for a quiet child, for its log file.

    The last lines are kept, so that a quiet child that dies can be heard after all.
    """

    def __init__(self, name: str, output: Output, *, log_path: Path | None) -> None:
        self._name = name
        self._output = output
        self._log = log_path.open("ab") if log_path else None
        self._rest = b""
        self.last: deque[str] = deque(maxlen=_KEPT_LINES)

    def feed(self, data: bytes) -> None:
        """Take bytes as they come; a line without end is broken where it gets too long."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        for line in whole:
            self._take(line)

    def close(self) -> None:
        """Take what is left as a last line."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        if self._log:
            self._log.close()

    def _take(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if self._log:
            self.last.append(text)
            self._log.write(line + b"\n")
            self._log.flush()
        else:
            self._output.line(self._name, text)
