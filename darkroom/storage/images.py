"""What an image is, from its first bytes and never from a name or a header."""

import io
import struct
from typing import NamedTuple

import imagesize  # type: ignore[import-untyped]
import puremagic

SIGNATURE_BYTES = 16


class ImageKind(NamedTuple):
    """A format that Seedream's outputs come in."""

    content_type: str
    extension: str


PNG = ImageKind("image/png", "png")
JPEG = ImageKind("image/jpeg", "jpg")
WEBP = ImageKind("image/webp", "webp")


def sniff(head: bytes) -> ImageKind | None:
    """Tell the format by its signature (WHATWG MIME Sniffing, 6.1); 16 bytes are enough. None: another one."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head[:4] == b"RIFF" and head[8:14] == b"WEBPVP":
        return WEBP
    return None


def describe(head: bytes) -> str:
    """Say what bytes that are no image look like, for an error text; costs about half a millisecond."""
    try:
        return puremagic.from_string(head[:512], mime=True) or "unknown data"
    except (ValueError, puremagic.PureError):
        return "unknown data" if head else "nothing"


def dimensions(head: bytes) -> tuple[int, int] | None:
    """Give width and height in pixels as displayed; None where the head does not reach that far or is broken."""
    try:
        width, height = imagesize.get(io.BytesIO(head))
    except (ValueError, struct.error, IndexError, OSError):
        return None
    return (int(width), int(height)) if width > 0 and height > 0 else None


def ends_whole(kind: ImageKind, head: bytes, tail: bytes, size_bytes: int) -> bool:
    """Say whether an image of unannounced length has its end; `tail` is its last 64 bytes or more."""
    if kind is PNG:
        return b"IEND" in tail
    if kind is JPEG:
        return b"\xff\xd9" in tail
    return size_bytes >= int.from_bytes(head[4:8], "little") + 8
