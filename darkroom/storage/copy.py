"""Copies one output into the bucket without ever holding it whole.

The GET's body goes straight into a presigned PUT, chunk by chunk, hashed on the way; a source that breaks off, or is
shorter than it said, breaks the PUT off too, so that nothing half is ever stored as if it were whole. A body of
unannounced length or with a content coding passes through a temporary file first, because a PUT needs a length.

The bucket's ETag is not compared: it is an MD5 only without KMS and multipart, and hashing a second time would cost
more than the copy itself; length and transport checksums stand for it.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp
from yarl import URL

from darkroom.network import check_form
from darkroom.storage.bucket import Bucket
from darkroom.storage.errors import (
    OutputInvalidError,
    OutputMissingError,
    OutputTooLargeError,
    SourceUnavailableError,
    StorageUnavailableError,
)
from darkroom.storage.images import SIGNATURE_BYTES, ends_whole
from darkroom.storage.source import SMALL_BYTES, Source, kind_of

FILE_CHUNK_BYTES = 256 * 2**10
TAIL_BYTES = 64

KeyFor = Callable[[str], str]
"""Makes the object key from the extension (`png`, `jpg`, `webp`)."""


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """Bounds of one copy; times are for connecting and between two chunks, never for the whole."""

    max_bytes: int = 200 * 10**6
    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    max_redirects: int = 3


DEFAULT_LIMITS = CopyLimits()


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What lies in the bucket now."""

    key: str
    content_type: str
    size_bytes: int
    sha256: str
    width: int | None
    height: int | None


async def copy_url(
    url: str,
    *,
    bucket: Bucket,
    source_session: aiohttp.ClientSession,
    key_for: KeyFor,
    limits: CopyLimits = DEFAULT_LIMITS,
) -> StoredObject:
    """Copy what is at `url` into the bucket; `source_session` should be a guarded one. Repeating it is harmless.

    Raises:
        OutputMissingError: 4xx at the source (retryable for a while, after reading the result again).
        SourceUnavailableError: the source fails, stalls or breaks off (retryable).
        OutputInvalidError: no image (retryable a few times).
        OutputTooLargeError, AddressRefusedError: permanent.
        StorageUnavailableError, StorageRefusedError: the bucket (retryable).
    """
    check_form(url)
    try:
        async with await _open(url, source_session, limits) as response:
            _check_answer(response)
            size_bytes = _plain_length(response)
            chunks = _guarded_chunks(response)
            if size_bytes is not None:
                return await _store(Source(chunks, size_bytes), bucket=bucket, key_for=key_for, limits=limits)
            may_end_early = response.headers.get("Transfer-Encoding", "").lower() != "chunked"
            with tempfile.TemporaryFile(prefix="darkroom-output-") as spool:
                await _spool(chunks, spool, limits, must_end_whole=may_end_early)
                return await _store_file(spool, bucket=bucket, key_for=key_for, limits=limits)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SourceUnavailableError(f"the output can't be fetched ({type(error).__name__})", delay_s=2) from None


async def _open(url: str, session: aiohttp.ClientSession, limits: CopyLimits) -> aiohttp.ClientResponse:
    """Ask for what is at the URL, redirects followed; the caller closes the answer."""
    # As it is: quoting it anew would break the signature of a signed URL.
    address = URL(url, encoded=url.isascii())
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_timeout_s, sock_read=limits.stall_timeout_s)
    headers = {"Accept-Encoding": "identity"}
    try:
        return await session.get(address, timeout=timeout, headers=headers, max_redirects=limits.max_redirects)
    except IndexError:  # yarl 1.25, of a redirect to `https://[a]@`; of others that are no URL aiohttp tells itself
        raise SourceUnavailableError("the output redirects to what is no URL", delay_s=2) from None


async def copy_file(
    path: Path, *, bucket: Bucket, key_for: KeyFor, limits: CopyLimits = DEFAULT_LIMITS
) -> StoredObject:
    """Copy a local file into the bucket; raises what `copy_url` raises, and `OSError` for the file itself."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        return await _store_file(file, bucket=bucket, key_for=key_for, limits=limits)
    finally:
        await asyncio.to_thread(file.close)


async def _store(source: Source, *, bucket: Bucket, key_for: KeyFor, limits: CopyLimits) -> StoredObject:
    if source.size_bytes > limits.max_bytes:
        raise _too_large(limits)
    size = await source.read_head()
    kind = kind_of(source.head)
    key = key_for(kind.extension)
    if len(source.head) == source.size_bytes or source.size_bytes <= SMALL_BYTES:
        await bucket.put_bytes(key, source.whole(), kind.content_type)
    else:
        try:
            await bucket.put_stream(key, source.stream(), source.size_bytes, kind.content_type)
        except StorageUnavailableError:
            if source.failure is not None:
                raise source.failure from None
            raise
    width, height = size or (None, None)
    return StoredObject(
        key=key,
        content_type=kind.content_type,
        size_bytes=source.size_bytes,
        sha256=source.sha256.hexdigest(),
        width=width,
        height=height,
    )


async def _store_file(file: IO[bytes], *, bucket: Bucket, key_for: KeyFor, limits: CopyLimits) -> StoredObject:
    size_bytes = os.fstat(file.fileno()).st_size
    return await _store(Source(_file_chunks(file), size_bytes), bucket=bucket, key_for=key_for, limits=limits)


def _check_answer(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 200:
        return
    text = f"the output's source answers {status}"
    if status in (408, 425, 429) or status >= 500:
        raise SourceUnavailableError(text, delay_s=3)
    if status >= 400:
        raise OutputMissingError(text, status=status)
    raise OutputInvalidError(text, delay_s=3)


def _plain_length(response: aiohttp.ClientResponse) -> int | None:
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    return response.content_length if coding in ("", "identity") else None


async def _guarded_chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SourceUnavailableError(f"the output's source broke off ({type(error).__name__})", delay_s=2) from None


async def _file_chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    await asyncio.to_thread(file.seek, 0)
    while chunk := await asyncio.to_thread(file.read, FILE_CHUNK_BYTES):
        yield chunk


async def _spool(chunks: AsyncIterator[bytes], file: IO[bytes], limits: CopyLimits, *, must_end_whole: bool) -> None:
    head, tail, total = b"", b"", 0
    async for chunk in chunks:
        head = head if len(head) >= SIGNATURE_BYTES else head + chunk[:SIGNATURE_BYTES]
        tail = (tail + chunk[-TAIL_BYTES:])[-TAIL_BYTES:]
        total += len(chunk)
        if total > limits.max_bytes:
            raise _too_large(limits)
        await asyncio.to_thread(file.write, chunk)
    await asyncio.to_thread(file.flush)
    if must_end_whole and not ends_whole(kind_of(head), head, tail, total):
        raise SourceUnavailableError("the output's source broke off before the image's end", delay_s=2)


def _too_large(limits: CopyLimits) -> OutputTooLargeError:
    return OutputTooLargeError(f"the output is larger than {limits.max_bytes} bytes")
