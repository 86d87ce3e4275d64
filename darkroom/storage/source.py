"""The bytes of one output on their way: looked at, counted and hashed, never kept beyond the head."""

import hashlib
from collections.abc import AsyncIterator

from darkroom.storage.errors import OutputInvalidError, SourceUnavailableError
from darkroom.storage.images import SIGNATURE_BYTES, ImageKind, describe, dimensions, sniff

SMALL_BYTES = 256 * 2**10
"""Outputs up to this size are buffered, and no head is longer."""


class Source:
    """One output of a length said beforehand: `read_head` first, then `whole` if it is small, else `stream`."""

    def __init__(self, chunks: AsyncIterator[bytes], size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.head = b""
        self.sha256 = hashlib.sha256()
        self.failure: Exception | None = None
        self._chunks = chunks
        self._passed_bytes = 0

    async def read_head(self) -> tuple[int, int] | None:
        """Read on until the dimensions are known, or 256 KiB, or a small output's end; give the dimensions."""
        head = bytearray()
        size: tuple[int, int] | None = None
        limit = min(self.size_bytes, SMALL_BYTES)
        small = self.size_bytes <= SMALL_BYTES
        while len(head) < limit and (size is None or small):
            chunk = await anext(self._chunks, b"")
            if not chunk:
                break
            head += chunk
            if len(head) >= SIGNATURE_BYTES and sniff(bytes(head[:SIGNATURE_BYTES])) is None:
                break
            size = size or dimensions(bytes(head))
        self.head = bytes(head)
        return size

    def whole(self) -> bytes:
        """Give a small output's bytes, checked against its length."""
        self._count(self.head)
        self._check_end()
        return self.head

    async def stream(self) -> AsyncIterator[bytes]:
        """Give head and rest; a source that fails or ends early raises, and `failure` says why."""
        try:
            self._count(self.head)
            yield self.head
            async for chunk in self._chunks:
                self._count(chunk)
                yield chunk
            self._check_end()
        except Exception as error:
            self.failure = error
            raise

    def _count(self, chunk: bytes) -> None:
        self._passed_bytes += len(chunk)
        self.sha256.update(chunk)
        if self._passed_bytes > self.size_bytes:
            raise self._wrong_length()

    def _check_end(self) -> None:
        if self._passed_bytes != self.size_bytes:
            raise self._wrong_length()

    def _wrong_length(self) -> SourceUnavailableError:
        text = f"the output's source gave {self._passed_bytes} bytes of {self.size_bytes}"
        return SourceUnavailableError(text, delay_s=2)


def kind_of(head: bytes) -> ImageKind:
    """Tell the format by the first bytes.

    Raises:
        OutputInvalidError: it is none of those that outputs come in.
    """
    kind = sniff(head)
    if kind is None:
        raise OutputInvalidError(f"the output is no png, jpg or webp but {describe(head)}", delay_s=3)
    return kind
