"""Cutting an upload into lines: numbered, without blank ones, and never for long in one go."""

import asyncio
from collections.abc import AsyncIterator

from api.batch_lines import LINES_AT_ONCE, cut_lines


async def given(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_lines_are_numbered_from_one_however_they_are_cut_into_chunks() -> None:
    body = b"a\n\n b\r\nc\n \nd"
    for size in range(1, len(body) + 1):
        chunks = [body[first : first + size] for first in range(0, len(body), size)]
        found = [line async for lines in cut_lines(given(*chunks)) for line in lines]
        assert [(number, text.strip()) for number, text in found] == [(1, b"a"), (3, b"b"), (4, b"c"), (6, b"d")]


async def test_others_go_on_between_the_lines_of_one_chunk() -> None:
    turns = 0

    async def go_on() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(go_on())
    pieces = [lines async for lines in cut_lines(given(b"x\n" * 20 * LINES_AT_ONCE))]
    other.cancel()
    assert {len(lines) for lines in pieces} == {LINES_AT_ONCE}
    assert turns >= 20
