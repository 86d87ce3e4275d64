"""An output's bytes are counted against what was said, whatever the transport lets through."""

import hashlib
from collections.abc import AsyncIterator

import pytest

from darkroom.storage import SourceUnavailableError
from darkroom.storage.source import SMALL_BYTES, Source

HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x08\x00\x00\x00\x04\x00" + bytes(64)


async def _chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _send(source: Source, sent: bytearray) -> None:
    async for chunk in source.stream():
        sent += chunk


async def test_head_and_rest_go_out_in_order_and_are_hashed() -> None:
    body = HEAD + bytes(2 * SMALL_BYTES)
    source = Source(_chunks(HEAD[:20], HEAD[20:], body[len(HEAD) :]), len(body))
    assert await source.read_head() == (2048, 1024)
    assert source.head == HEAD, "no more was read than was needed"
    sent = bytearray()
    await _send(source, sent)
    assert sent == body
    assert source.sha256.hexdigest() == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("difference", [-1, 1, SMALL_BYTES])
async def test_a_stream_of_another_length_than_said_breaks_off(difference: int) -> None:
    body = HEAD + bytes(2 * SMALL_BYTES)
    source = Source(_chunks(HEAD, body[len(HEAD) :]), len(body) + difference)
    await source.read_head()
    sent = bytearray()
    with pytest.raises(SourceUnavailableError, match=f"of {len(body) + difference}"):
        await _send(source, sent)
    assert len(sent) < len(body) + difference, "the bucket must see an incomplete request"
    assert source.failure is not None


@pytest.mark.parametrize("said", [len(HEAD) - 1, len(HEAD) + 1])
async def test_a_small_output_of_another_length_than_said_is_refused(said: int) -> None:
    source = Source(_chunks(HEAD), said)
    await source.read_head()
    with pytest.raises(SourceUnavailableError):
        source.whole()


async def test_a_head_that_never_tells_a_size_is_bounded() -> None:
    jpeg = b"\xff\xd8" + b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    source = Source(_chunks(jpeg, *[(b"\xff\xfe\xff\xff" + bytes(0xFFFD))] * 50), 10**7)
    assert await source.read_head() is None
    assert len(source.head) < 2 * SMALL_BYTES


async def test_what_is_no_image_is_not_read_any_further() -> None:
    source = Source(_chunks(*[b"<html>" + bytes(1024)] * 100), 10**6)
    await source.read_head()
    assert len(source.head) == 1030
