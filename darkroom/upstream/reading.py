"""From the bytes of an answer to a JSON document, without ever holding its base64 outputs whole."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from darkroom.upstream.base64_scan import MAX_DEPTH, DocumentTooLargeError, OutputScanner
from darkroom.upstream.base64_text import Base64Text, is_url

SMALL_BYTES = 64 * 1024
"""Up to here an answer is parsed as it is; the scanner's cost is spared where most answers are."""

BATCH_BYTES = 512 * 1024
"""What is decoded at once, about a millisecond of work; a batch that is spooled runs in a thread because disks wait."""

SHOWN_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Document:
    """What an answer's body said: `value` is the parsed JSON, or None, and then `problem` says why not.

    In arrays named `outputs`, every text that is no address has become an `EncodedOutput`. `text` is the beginning of a
    body that is not JSON; `spooled` are the files that were written.
    """

    value: Any
    text: str = ""
    problem: str | None = None
    spooled: tuple[Path, ...] = ()


class DocumentReader:
    """Takes one body. After `finish` spooled files belong to the caller; after `discard` there are none."""

    def __init__(self, spool_dir: Path | None = None) -> None:
        self._spool_dir = spool_dir
        self._small = bytearray()
        self._scanner: OutputScanner | None = None
        self._texts: list[Base64Text] = []
        self._lock = threading.Lock()
        self._is_discarded = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; safe to call in a thread while another one discards."""
        with self._lock:
            if self._is_discarded:
                return
            if self._scanner is not None:
                self._scanner.feed(chunk)
                return
            self._small += chunk
            if len(self._small) > SMALL_BYTES:
                self._scanner = OutputScanner(self._open_text)
                self._scanner.feed(bytes(self._small))

    def finish(self) -> Document:
        """Parse what was kept and end the outputs."""
        kept = self._small if self._scanner is None else self._scanner.skeleton
        try:
            value = orjson.loads(kept)
        except orjson.JSONDecodeError:
            self.discard()
            return Document(None, bytes(kept[:SHOWN_BYTES]).decode(errors="replace"), "the answer is not JSON")
        if isinstance(value, dict | list):
            self._settle(value)
        for text in self._texts:
            text.close()
        return Document(value, spooled=tuple(text.path for text in self._texts if text.path is not None))

    def discard(self) -> None:
        """Delete what was spooled and ignore what may still come."""
        with self._lock:
            self._is_discarded = True
            for text in self._texts:
                text.discard()

    def _open_text(self) -> Base64Text:
        text = Base64Text(self._spool_dir)
        self._texts.append(text)
        return text

    def _settle(self, value: Any, depth: int = 1) -> None:
        """End the outputs of a document, in place."""
        if depth > MAX_DEPTH:
            raise DocumentTooLargeError(f"the answer is nested deeper than {MAX_DEPTH}")
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            if name == "outputs" and isinstance(part, list):
                part[:] = [self._output(entry) for entry in part]
            elif isinstance(part, dict | list):
                self._settle(part, depth + 1)

    def _output(self, entry: Any) -> Any:
        if not isinstance(entry, str) or is_url(entry):
            return entry
        text = self._scanner.texts.get(entry) if self._scanner is not None else None
        if text is None:
            text = self._open_text()
            text.feed(entry.encode(errors="replace"))
        return text.finish()


async def read_document(chunks: AsyncIterator[bytes], *, spool_dir: Path | None = None) -> Document:
    """Read a body to its end; base64 outputs go to files in `spool_dir`, or are checked and dropped.

    Errors of `chunks` pass through, and then no file is left. A spool that can't be written raises `SpoolError`.
    """
    reader = DocumentReader(spool_dir)
    batch = bytearray()
    try:
        async for chunk in chunks:
            batch += chunk
            if len(batch) >= BATCH_BYTES:
                full, batch = bytes(batch), bytearray()
                await _feed(reader, full, in_thread=spool_dir is not None)
        reader.feed(bytes(batch))
        return reader.finish()
    except DocumentTooLargeError as error:
        reader.discard()
        return Document(None, problem=str(error))
    except BaseException:
        reader.discard()
        raise


async def _feed(reader: DocumentReader, batch: bytes, *, in_thread: bool) -> None:
    if in_thread:
        await asyncio.to_thread(reader.feed, batch)
    else:
        reader.feed(batch)
