"""Answers with base64 outputs: found, decoded and taken out while the body arrives, wherever its pieces end."""

import asyncio
import base64
import json
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.upstream import base64_text
from darkroom.upstream.base64_scan import LONG_TEXT
from darkroom.upstream.base64_text import EncodedOutput
from darkroom.upstream.errors import SpoolError
from darkroom.upstream.reading import SMALL_BYTES, Document, DocumentReader, read_document

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 600


def read(body: bytes, *, sizes: Iterable[int] = (), spool_dir: Path | None = None) -> Document:
    """Feed a body in pieces of the given sizes, the rest at once."""
    reader = DocumentReader(spool_dir)
    position = 0
    for size in sizes:
        reader.feed(body[position : position + size])
        position += size
    reader.feed(body[position:])
    return reader.finish()


def envelope(*outputs: Any, **more: Any) -> bytes:
    return json.dumps({"code": 200, "data": {"id": "p", "outputs": list(outputs), **more}}).encode()


def outputs_of(document: Document) -> list[Any]:
    found: list[Any] = document.value["data"]["outputs"]
    return found


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def size_of(path: Path) -> int:
    return path.stat().st_size


def encoded(data: bytes = PNG) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("size", [1, 3, 57, 4096, 65_536, 10_000_000])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "DATA:image/jpeg;name=a;BASE64,"])
def test_long_output_lands_in_a_file_whatever_the_pieces(tmp_path: Path, size: int, head: str) -> None:
    body = envelope("https://x.example/1.png", head + encoded(), None, error='a "quoted" \\ text')
    sizes = [size] * (len(body) // size)
    document = read(body, sizes=sizes, spool_dir=tmp_path)
    url, image, nothing = outputs_of(document)
    assert (url, nothing, document.value["data"]["error"]) == ("https://x.example/1.png", None, 'a "quoted" \\ text')
    assert image.path.read_bytes() == PNG
    assert document.spooled == (image.path,)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), images=st.lists(st.binary(min_size=1, max_size=90_000), min_size=1, max_size=3))
def test_any_cut_of_any_escaping_reads_the_same(data: st.DataObject, images: list[bytes]) -> None:
    texts = [json.dumps(encoded(image)) for image in images]
    styles = st.sampled_from(["plain", "slash", "unicode", "wrapped"])
    texts = [_escaped(text, data.draw(styles)) for text in texts]
    prompt = json.dumps(data.draw(st.text(max_size=50)) + '"outputs":["' + "\\" * data.draw(st.integers(0, 3)))
    pad = json.dumps("x" * SMALL_BYTES)
    body = f'{{"pad":{pad},"input":{{"prompt":{prompt}}},"outputs":[{",".join(texts)}],"z":[[],{{}}]}}'.encode()
    document = read(body, sizes=data.draw(st.lists(st.integers(1, 5000), max_size=60)))
    assert document.problem is None
    assert [entry.size_bytes for entry in document.value["outputs"]] == [len(image) for image in images]
    assert document.value["input"]["prompt"] == json.loads(prompt)


@pytest.mark.parametrize("style", ["plain", "slash", "unicode", "wrapped"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11])
def test_an_escape_cut_in_two_inside_a_long_output_is_still_one(tmp_path: Path, style: str, size: int) -> None:
    text = _escaped(json.dumps(encoded()), style)
    body = f'{{"pad":"{"x" * SMALL_BYTES}","data":{{"outputs":[{text}]}}}}'.encode()
    (image,) = outputs_of(read(body, sizes=[SMALL_BYTES] + [size] * (len(body) // size), spool_dir=tmp_path))
    assert image.path.read_bytes() == PNG


def _escaped(text: str, style: str) -> str:
    if style == "slash":
        return text.replace("/", "\\/")
    if style == "unicode":
        return text.replace("=", "\\u003d").replace("+", "\\u002B").replace("/", "\\u002f")
    if style == "wrapped":
        inner = text.strip('"')
        return '"' + "\\r\\n".join(inner[at : at + 76] for at in range(0, len(inner), 76)) + '"'
    return text


@pytest.mark.parametrize("filler", [0, SMALL_BYTES + 1])
@pytest.mark.parametrize(
    "text",
    [
        "not base64 at all!",
        "A",
        "AAAAA",
        "",
        "data:image/png;base64,",
        "data:image/png,plain",
        "data:" + "x" * 1000,
        "QUJD=QUJD",
        "QUJDRA==QUJD",
        "ftp://x.example/1.png",
        "é" * 5000,
        encoded()[:-3],
        encoded() + "!",
        "!" + encoded(),
        encoded().replace("A", '"', 1),
        encoded() + "\\",
        "é" + encoded(),
    ],
)
def test_text_that_is_no_base64_is_a_missing_output_with_a_note_and_leaves_no_file(
    tmp_path: Path, text: str, filler: int
) -> None:
    body = envelope(text, "https://x.example/2.png", error="x" * filler)
    for size in (len(body), 1000, 7):
        document = read(body, sizes=[size] * (len(body) // size), spool_dir=tmp_path)
        spoiled, url = outputs_of(document)
        assert isinstance(spoiled, EncodedOutput)
        assert (spoiled.path, spoiled.size_bytes) == (None, 0)
        assert spoiled.problem
        assert url == "https://x.example/2.png"
        assert not files_in(tmp_path)


@pytest.mark.parametrize("data", [b"a", b"ab", b"abc", os.urandom(200_000)])
def test_url_safe_and_unpadded_text_is_base64_too(tmp_path: Path, data: bytes) -> None:
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    (image,) = outputs_of(read(envelope(text), spool_dir=tmp_path))
    assert image.path.read_bytes() == data


def test_a_very_long_address_stays_an_address(tmp_path: Path) -> None:
    url = "HTTPS://x.example/?q=" + "a/" * LONG_TEXT * 20
    body = envelope(url, encoded()).replace(b"/", b"\\/")
    for size in (len(body), 999):
        document = read(body, sizes=[size] * (len(body) // size))
        assert outputs_of(document)[0] == url


def test_no_text_of_upstream_can_pass_for_an_image_that_was_read() -> None:
    document = read(envelope(encoded(), "0", ":0", "base64!", {"path": "x"}))
    first, *others = outputs_of(document)
    assert first.problem is None
    assert all(entry.problem for entry in others[:-1])
    assert others[-1] == {"path": "x"}


def test_only_strings_right_inside_outputs_are_taken_out() -> None:
    long = encoded()
    body = json.dumps({"inputs": [long], "outputs": {"a": long}, "x": {"outputs": [{"b": long}, [long]]}}).encode()
    document = read(body, sizes=[1000] * 200)
    assert document.value == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"outputs":["', b'{"data":{"outputs":["' + b"QUJD" * 50_000, b"}]" * 40_000]
)
def test_a_body_that_ends_too_soon_is_no_document_and_leaves_no_file(tmp_path: Path, body: bytes) -> None:
    document = read(body, spool_dir=tmp_path)
    assert (document.value, document.problem) == (None, "the answer is not JSON")
    assert not files_in(tmp_path)


def test_outputs_named_twice_leave_no_open_file(tmp_path: Path) -> None:
    body = f'{{"outputs":["{encoded()}"],"outputs":["{encoded(PNG + b"2")}"]}}'.encode()
    document = read(body, spool_dir=tmp_path)
    assert sorted(document.spooled) == files_in(tmp_path)


async def _pieces(body: Iterable[bytes], error: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in body:
        yield piece
    if error is not None:
        raise error


@pytest.mark.parametrize("body", [[b'{"a":"' + b"x" * 1_000_000] * 5, [b"[" * 1000, b" " * SMALL_BYTES]])
async def test_an_endless_or_bottomless_answer_is_given_up(body: list[bytes]) -> None:
    document = await read_document(_pieces(body))
    assert document.value is None
    assert document.problem


async def test_a_broken_exchange_leaves_no_file(tmp_path: Path) -> None:
    half = envelope(encoded(PNG * 20))[:-100_000]
    with pytest.raises(ConnectionError):
        await read_document(_pieces([half], ConnectionError()), spool_dir=tmp_path)
    assert not files_in(tmp_path)


async def test_a_cancelled_reading_leaves_no_file(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield envelope(encoded(PNG * 20))[:-100_000]
        arrived.set()
        await asyncio.Event().wait()

    reading = asyncio.create_task(read_document(stuck(), spool_dir=tmp_path))
    await arrived.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not files_in(tmp_path)


async def test_a_spool_that_cannot_be_written_is_this_machines_trouble(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="spool"):
        await read_document(_pieces([envelope(encoded())]), spool_dir=tmp_path / "missing")


def test_an_output_past_the_bound_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64_text, "MAX_OUTPUT_BYTES", 100_000)
    body = envelope(encoded())
    (image,) = outputs_of(read(body, sizes=[4096] * 60, spool_dir=tmp_path))
    assert "larger" in image.problem
    assert not files_in(tmp_path)


@pytest.mark.parametrize(("spooled", "size_bytes"), [(True, 6_000_000), (False, 30_000_000)])
async def test_fifteen_large_outputs_are_never_held(tmp_path: Path, spooled: bool, size_bytes: int) -> None:
    piece, count = b"QUJD" * 16_384, 15
    repeats = size_bytes * 4 // 3 // len(piece)

    def body() -> Iterable[bytes]:
        yield b'{"code":200,"data":{"id":"p","status":"completed","outputs":['
        for number in range(count):
            yield b'"' if number == 0 else b',"data:image\\/png;base64,'
            for _ in range(repeats):
                yield piece
            yield b'"'
        yield b"]}}"

    tracemalloc.start()
    document = await read_document(_pieces(body()), spool_dir=tmp_path if spooled else None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sizes = [entry.size_bytes for entry in outputs_of(document)]
    assert sizes == [repeats * len(piece) * 3 // 4] * count
    assert [size_of(path) for path in document.spooled] == (sizes if spooled else [])
    assert peak < 6_000_000


async def test_a_small_answer_that_is_nested_too_deep_is_a_problem_and_no_crash() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"a":' * 900 + b"1" + b"}" * 900

    document = await read_document(chunks())
    assert (document.value, document.problem) == (None, "the answer is nested deeper than 100")
