"""A JSON text without its long outputs: read piece by piece, so that base64 images are never held whole.

Strings directly inside an array named `outputs` that are longer than `LONG_TEXT` and no address go to a `Base64Text`
and leave a placeholder behind; everything else is kept as it came, up to `MAX_DOCUMENT_BYTES`, for a real parser.
"""

import re
import secrets
from collections.abc import Callable

from darkroom.upstream.base64_text import MAX_URI_HEAD, Base64Text, OpenText, is_url

LONG_TEXT = 4096
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 100
MAX_NAME = 64

_STRUCTURE = re.compile(rb'[\[\]{}:,"]')
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPE_BEGUN = re.compile(rb"(?:u[0-9a-fA-F]{0,3})?")
_PLAIN_ESCAPES = {b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_NEITHER = b"!"

Step = Callable[[bytes, int], int]


class DocumentTooLargeError(ValueError):
    """What is left beside the outputs is more than any answer needs."""


class OutputScanner:
    """Feed it the body; `skeleton` is then JSON again, and `texts` has the long outputs by placeholder.

    Malformed JSON is kept as it came and left for the parser to refuse.
    """

    def __init__(self, open_text: OpenText) -> None:
        self.skeleton = bytearray()
        self.texts: dict[str, Base64Text] = {}
        self._open_text = open_text
        self._nonce = secrets.token_hex(8)
        self._tail = b""
        self._step: Step = self._structure
        self._arrays_of_outputs: list[bool] = []
        self._string_at = 0
        self._last_string = b""
        self._key = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            DocumentTooLargeError: the part to keep, or its nesting, is past its bound.
        """
        data, position = self._tail + chunk, 0
        self._tail = b""
        while position < len(data):
            position = self._step(data, position)
            if len(self.skeleton) > MAX_DOCUMENT_BYTES:
                raise DocumentTooLargeError(f"the answer is longer than {MAX_DOCUMENT_BYTES} bytes beside its outputs")

    def _structure(self, data: bytes, start: int) -> int:
        """Read between strings, up to the next one."""
        for found in _STRUCTURE.finditer(data, start):
            mark = found[0]
            if mark == b'"':
                return self._begin_string(data, start, found.end())
            if mark == b":":
                self._key = self._last_string
                continue
            if mark in b"[{":
                self._arrays_of_outputs.append(mark == b"[" and self._key == b"outputs")
                if len(self._arrays_of_outputs) > MAX_DEPTH:
                    raise DocumentTooLargeError(f"the answer is nested deeper than {MAX_DEPTH}")
            elif mark in b"]}" and self._arrays_of_outputs:
                self._arrays_of_outputs.pop()
            self._key = b""
        self.skeleton += data[start:]
        return len(data)

    def _begin_string(self, data: bytes, start: int, end: int) -> int:
        self.skeleton += data[start:end]
        self._string_at = len(self.skeleton)
        is_output = bool(self._arrays_of_outputs) and self._arrays_of_outputs[-1]
        self._step = self._output if is_output else self._string
        return end

    def _string(self, data: bytes, start: int) -> int:
        """Keep an ordinary string."""
        quote = _closing_quote(data, start)
        if quote >= 0:
            self.skeleton += data[start : quote + 1]
            is_name = len(self.skeleton) - self._string_at <= MAX_NAME
            self._last_string = bytes(self.skeleton[self._string_at : -1]) if is_name else b""
            self._step = self._structure
            return quote + 1
        end = len(data) - _backslashes_before(data, start, len(data)) % 2
        self.skeleton += data[start:end]
        self._tail = data[end:]
        return len(data)

    def _output(self, data: bytes, start: int) -> int:
        """Wait until an output has ended or has shown what it is."""
        quote = _closing_quote(data, start, start + LONG_TEXT + 1)
        if quote >= 0:
            self._step = self._string
            return start
        if len(data) - start <= LONG_TEXT:
            self._tail = data[start:]
            return len(data)
        head = _unescaped(data[start : start + MAX_URI_HEAD]).decode("latin-1")
        self._step = self._string if is_url(head) else self._begin_text()
        return start

    def _begin_text(self) -> "Step":
        placeholder = f"{self._nonce}-{len(self.texts)}"
        self.texts[placeholder] = self._open_text()
        self.skeleton += placeholder.encode()
        return self._long_text

    def _long_text(self, data: bytes, start: int) -> int:
        """Pass a long output on."""
        text = next(reversed(self.texts.values()))
        quote = _closing_quote(data, start)
        if quote >= 0:
            text.feed(_unescaped(data[start:quote]))
            self.skeleton += b'"'
            self._step = self._structure
            return quote + 1
        end = _open_escape(data, start)
        text.feed(_unescaped(data[start:end]))
        self._tail = data[end:]
        return len(data)


def _closing_quote(data: bytes, start: int, end: int | None = None) -> int:
    """Find the quote that ends a string, -1 if it is not there yet; `start` is not inside an escape."""
    quote = data.find(b'"', start, end)
    while quote >= 0 and _backslashes_before(data, start, quote) % 2:
        quote = data.find(b'"', quote + 1, end)
    return quote


def _backslashes_before(data: bytes, start: int, end: int) -> int:
    count = 0
    while end - count > start and data[end - count - 1] == 0x5C:
        count += 1
    return count


def _open_escape(data: bytes, start: int) -> int:
    """Find where an escape begins whose end has not arrived; the end of the data if there is none."""
    last = data.rfind(b"\\", max(start, len(data) - 5))
    if last < 0 or not _ESCAPE_BEGUN.fullmatch(data, last + 1):
        return len(data)
    return last if _backslashes_before(data, start, last) % 2 == 0 else len(data)


def _unescaped(piece: bytes) -> bytes:
    """Undo the escapes that base64 text and addresses may have; any other becomes a character that neither knows."""
    if b"\\" not in piece:
        return piece
    piece = piece.replace(b"\\/", b"/")
    return _ESCAPE.sub(_plain, piece) if b"\\" in piece else piece


def _plain(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        return _PLAIN_ESCAPES.get(escape[2], _NEITHER)
    code = int(escape[1], 16)
    return bytes((code,)) if code < 128 else _NEITHER
