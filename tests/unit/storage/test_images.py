"""What bytes are, and how large the picture is."""

import io

import pytest
from PIL import Image

from darkroom.storage.images import JPEG, PNG, WEBP, ImageKind, describe, dimensions, ends_whole, sniff

FORMATS = [("PNG", PNG), ("JPEG", JPEG), ("WEBP", WEBP)]


def _draw(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((321, 123)).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "kind"), FORMATS)
def test_the_format_is_known_from_sixteen_bytes(name: str, kind: ImageKind) -> None:
    assert sniff(_draw(name)[:16]) is kind


@pytest.mark.parametrize("lossless", [True, False])
def test_both_kinds_of_webp_are_known_and_measured(lossless: bool) -> None:
    body = _draw("WEBP", lossless=lossless)
    assert sniff(body) is WEBP
    assert dimensions(body) == (321, 123)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_width_and_height_are_read_from_the_head_alone(name: str) -> None:
    assert dimensions(_draw(name)[:1024]) == (321, 123)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_no_cut_of_a_head_is_an_error_or_a_wrong_size(name: str) -> None:
    body = _draw(name)
    assert {dimensions(body[:length]) for length in range(1024)} == {None, (321, 123)}


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "nothing"),
        (b"GIF89a" + bytes(32), "image/gif"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt " + bytes(32), "audio/wav"),
        (b"<!DOCTYPE html><html></html>", "text/html"),
        (b"\x89PNG", ""),
        (b"\x00" * 64, ""),
    ],
)
def test_anything_else_is_no_format_and_can_be_described(head: bytes, said: str) -> None:
    assert sniff(head) is None
    assert said in describe(head)


@pytest.mark.parametrize(("name", "kind"), FORMATS)
def test_an_image_without_its_end_is_told_from_a_whole_one(name: str, kind: ImageKind) -> None:
    body = _draw(name)
    cut = body[: len(body) * 3 // 4]
    assert ends_whole(kind, body[:16], body[-64:], len(body))
    assert not ends_whole(kind, cut[:16], cut[-64:], len(cut))
