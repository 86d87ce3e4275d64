"""One base64 output, decoded while its text arrives: to a file, or checked and dropped."""

import binascii
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from darkroom.upstream.errors import SpoolError

MAX_OUTPUT_BYTES = 256 * 1024 * 1024
"""No image of 4096*4096 pixels is larger; what is has gone wrong."""

MAX_URI_HEAD = 256
"""Longest `data:image/…;base64,` that is looked for."""

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"


def is_url(text: str) -> bool:
    """Tell whether an output is an address rather than the image itself."""
    return text[:8].lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class EncodedOutput:
    """What became of one base64 output: `path` where it was spooled; `problem` where it is no image text."""

    path: Path | None = None
    size_bytes: int = 0
    problem: str | None = None


class Base64Text:
    """Takes the pieces of one output's text, a `data:` URI or bare base64, standard or URL-safe, padded or not.

    Holds no more than a piece; `path` is its file, if one was made. Always end it with `finish` or `discard`.
    """

    def __init__(self, spool_dir: Path | None) -> None:
        self._spool_dir = spool_dir
        self._file: BinaryIO | None = None
        self.path: Path | None = None
        self._head: bytes | None = b""
        self._rest = b""
        self._is_padded = False
        self._size = 0
        self._problem: str | None = None

    def feed(self, piece: bytes) -> None:
        """Decode the next piece, JSON escapes already undone."""
        if self._problem is not None:
            return
        if self._head is not None:
            self._head += piece
            if self._head[:5].lower() == b"data:"[: len(self._head)] and not self._take_uri_head():
                return
            piece, self._head = self._head, None
        self._decode(piece)

    def finish(self) -> EncodedOutput:
        """Close the file and say what was in the text; a text that is not base64 leaves no file."""
        if self._problem is None:
            if self._head:
                self._problem = "its data URI has no base64 content"
            elif len(self._rest) == 1:
                self._problem = "its base64 text is cut off"
            elif self._rest:
                self._decode(b"=" * (4 - len(self._rest)))
        if self._problem is None and not self._size:
            self._problem = "it is empty"
        if self._problem is not None:
            self.discard()
            return EncodedOutput(problem=self._problem)
        self.close()
        return EncodedOutput(self.path, self._size)

    def discard(self) -> None:
        """Close and delete the file, if there is one."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None

    def reject(self, problem: str) -> None:
        """Mark the text as unusable; the first problem stands."""
        self._problem = self._problem or problem

    def _take_uri_head(self) -> bool:
        """Cut `data:…;base64,` off; False while it has not fully arrived."""
        head = self._head or b""
        kind, comma, content = head.partition(b",")
        if comma:
            self._head = content
            if not kind.lower().endswith(b";base64"):
                self.reject("its data URI is not base64")
            return True
        if len(head) > MAX_URI_HEAD:
            self.reject("its data URI has no content")
        return False

    def _decode(self, piece: bytes) -> None:
        if self._problem is not None:
            return
        text = self._rest + piece.translate(_URL_SAFE, _SPACE)
        whole = len(text) // 4 * 4
        block, self._rest = text[:whole], text[whole:]
        if not text:
            return
        if self._is_padded:
            self.reject("its base64 text goes on after the padding")
            return
        try:
            data = binascii.a2b_base64(block, strict_mode=True)
        except binascii.Error:
            self.reject("it is neither an address nor base64")
            return
        self._is_padded = block.endswith(b"=")
        self._size += len(data)
        if self._size > MAX_OUTPUT_BYTES:
            self.reject(f"it is larger than {MAX_OUTPUT_BYTES} bytes")
        elif self._spool_dir is not None:
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            if self._file is None:
                handle, name = tempfile.mkstemp(prefix="output-", suffix=".part", dir=self._spool_dir)
                self.path, self._file = Path(name), os.fdopen(handle, "wb", buffering=0)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise SpoolError(f"cannot write an output to the spool folder: {error.strerror}") from error

    def close(self) -> None:
        """Close the file and keep it; `finish` and `discard` do so by themselves."""
        if self._file is not None:
            self._file.close()
            self._file = None


OpenText = Callable[[], Base64Text]
