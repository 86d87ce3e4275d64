"""Drawing the outputs: pictures that a person sees to be simulated, and to be one numbered series.

All panels of a job share a palette and a landscape drawn from its prompt; from panel to panel the sun crosses the sky,
a tree grows and a fox walks across the hills. Everything is drawn with a palette of sixteen colours and hardly
compressed, so that a picture of 4096 x 4096 costs a fraction of a second. `padded_png` makes cheap ones of a given
number of bytes for load tests.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
import random
import struct
import textwrap
import zlib
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

_SKY, _SKY_LOW, _SUN, _FAR, _MIDDLE, _NEAR, _TRUNK, _LEAVES, _FOX, _FOX_LIGHT, _INK, _PAPER, _RIBBON = range(13)


@dataclass(frozen=True, slots=True)
class Panel:
    """What to draw: panel `number` of `total` of a job with this prompt."""

    prompt: str
    width: int
    height: int
    number: int
    total: int


def draw_panel(panel: Panel, image_format: str = "png") -> bytes:
    """Return the encoded picture of a panel; the same panel gives the same bytes."""
    rng = random.Random(int.from_bytes(hashlib.sha256(panel.prompt.encode()).digest()[:8], "big"))
    image = Image.new("P", (panel.width, panel.height), _SKY)
    image.putpalette(_palette(rng.random()))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    _draw_landscape(draw, panel, rng)
    _draw_caption(draw, panel)
    _draw_ribbon(image, panel)
    return encode(image, image_format)


def encode(image: Image.Image, image_format: str) -> bytes:
    """Encode a picture of the palette quickly; size hardly matters here."""
    out = io.BytesIO()
    if image_format == "png":
        image.save(out, "PNG", compress_level=1)
    elif image_format == "jpeg":
        image.convert("RGB").save(out, "JPEG", quality=80)
    else:
        image.convert("RGB").save(out, "WEBP", quality=60, method=0)
    return out.getvalue()


def _palette(hue: float) -> list[int]:
    """Build the sixteen colours of a job around one hue."""

    def colour(turn: float, lightness: float, saturation: float) -> tuple[int, int, int]:
        red, green, blue = colorsys.hls_to_rgb((hue + turn) % 1.0, lightness, saturation)
        return round(red * 255), round(green * 255), round(blue * 255)

    colours = {
        _SKY: colour(0.0, 0.78, 0.55),
        _SKY_LOW: colour(0.04, 0.87, 0.60),
        _SUN: (255, 206, 84),
        _FAR: colour(0.08, 0.62, 0.35),
        _MIDDLE: colour(0.12, 0.47, 0.38),
        _NEAR: colour(0.16, 0.33, 0.42),
        _TRUNK: colour(0.55, 0.25, 0.30),
        _LEAVES: colour(0.25, 0.42, 0.50),
        _FOX: (224, 112, 40),
        _FOX_LIGHT: (250, 236, 214),
        _INK: (24, 22, 30),
        _PAPER: (252, 250, 244),
        _RIBBON: (196, 30, 58),
    }
    return [channel for index in sorted(colours) for channel in colours[index]]


def _draw_landscape(draw: ImageDraw.ImageDraw, panel: Panel, rng: random.Random) -> None:
    width, height = panel.width, panel.height
    along = (panel.number - 0.5) / panel.total
    draw.rectangle((0, height * 45 // 100, width, height), fill=_SKY_LOW)
    sun_x, sun_y = width * (0.1 + 0.8 * along), height * (0.42 - 0.22 * math.sin(math.pi * along))
    radius = min(width, height) * 0.07
    draw.ellipse((sun_x - radius, sun_y - radius, sun_x + radius, sun_y + radius), fill=_SUN)
    for base, swing, colour in ((0.50, 0.06, _FAR), (0.60, 0.05, _MIDDLE), (0.70, 0.03, _NEAR)):
        phase, waves = rng.uniform(0, math.tau), rng.uniform(1.0, 2.2)
        ridge = [
            (width * step / 48, height * (base + swing * math.sin(phase + waves * math.tau * step / 48)))
            for step in range(49)
        ]
        draw.polygon([*ridge, (width, height), (0, height)], fill=colour)
    _draw_tree(draw, width * rng.uniform(0.55, 0.85), height * 0.74, min(width, height) * (0.08 + 0.18 * along))
    _draw_fox(draw, width * (0.08 + 0.72 * along), height * 0.72, min(width, height) * 0.05)


def _draw_tree(draw: ImageDraw.ImageDraw, x: float, y: float, size: float) -> None:
    draw.rectangle((x - size * 0.07, y - size, x + size * 0.07, y), fill=_TRUNK)
    for lift, reach in ((0.8, 0.45), (1.15, 0.36), (1.45, 0.24)):
        top, wide = y - size * lift, size * reach
        draw.ellipse((x - wide, top - wide, x + wide, top + wide), fill=_LEAVES)


def _draw_fox(draw: ImageDraw.ImageDraw, x: float, y: float, size: float) -> None:
    for leg in (0.25, 0.6, 1.5, 1.85):
        draw.rectangle((x + size * leg, y, x + size * (leg + 0.15), y + size * 0.9), fill=_FOX)
    draw.ellipse((x, y - size * 0.6, x + size * 2.2, y + size * 0.5), fill=_FOX)
    draw.polygon([(x + size * 0.2, y), (x - size * 1.2, y - size * 0.9), (x - size * 0.7, y + size * 0.1)], fill=_FOX)
    head = [(x + size * 1.8, y - size * 1.1), (x + size * 3.0, y - size * 0.35), (x + size * 1.9, y + size * 0.1)]
    draw.polygon(head, fill=_FOX)
    ear = [(x + size * 1.75, y - size * 0.9), (x + size * 1.9, y - size * 1.6), (x + size * 2.25, y - size * 0.8)]
    draw.polygon(ear, fill=_FOX)
    draw.ellipse((x + size * 2.85, y - size * 0.45, x + size * 3.05, y - size * 0.25), fill=_INK)


def _draw_caption(draw: ImageDraw.ImageDraw, panel: Panel) -> None:
    unit = min(panel.width, panel.height)
    margin, size = unit // 40, unit // 36
    draw.text((margin * 2, margin), f"{panel.number}/{panel.total}", fill=_INK, font=_font(unit // 6))
    columns = max(20, int((panel.width - margin * 6) / (size * 0.55)))
    lines = textwrap.wrap(panel.prompt, columns, max_lines=4, placeholder=" …") or [""]
    top = panel.height - margin * 2 - int(size * 1.35) * len(lines) - margin
    draw.rectangle((margin * 2, top, panel.width - margin * 2, panel.height - margin), fill=_PAPER)
    for row, line in enumerate(lines):
        draw.text((margin * 3, top + margin // 2 + int(size * 1.35) * row), line, fill=_INK, font=_font(size))


def _draw_ribbon(image: Image.Image, panel: Panel) -> None:
    """Lay a band with SIMULATED across the upper right corner."""
    unit = min(panel.width, panel.height)
    x, band = panel.width, unit // 14
    outer, inner = unit * 46 // 100, unit * 46 // 100 - band * 3 // 2
    ImageDraw.Draw(image).polygon([(x - outer, 0), (x - inner, 0), (x, inner), (x, outer)], fill=_RIBBON)
    label = _ribbon_label(band * 3 // 4)
    centre = (outer + inner) // 4
    image.paste(_PAPER, (x - centre - label.width // 2, centre - label.height // 2), label)


@lru_cache(maxsize=16)
def _ribbon_label(size: int) -> Image.Image:
    font = _font(size)
    box = font.getbbox("SIMULATED")
    label = Image.new("1", (int(box[2]) + 2, int(box[3]) + 2), 0)
    ImageDraw.Draw(label).text((1, 0), "SIMULATED", fill=1, font=font)
    return label.rotate(-45, expand=True)


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, which the captions need")
    return font


@dataclass(frozen=True, slots=True)
class PaddedPng:
    """A valid PNG in parts: the same `head` and `tail` for all, between them a few bytes that differ per file."""

    head: bytes
    padding: memoryview
    tail: bytes

    def parts(self, label: str) -> list[bytes | memoryview]:
        """Return the file's pieces; `label` (cut or filled to 48 characters) makes its bytes its own."""
        return [self.head, _chunk(b"tEXt", b"label\0" + label.encode()[:48].ljust(48)), self.padding, self.tail]


@lru_cache(maxsize=64)
def padded_png(width: int, height: int, number: int, total: int, size_bytes: int) -> PaddedPng:
    """Make a plain numbered picture of exactly `size_bytes`, or as small as it goes if that is larger."""
    image = Image.new("P", (width, height), 0)
    image.putpalette([*(40 * number % 256, 90, 160), *(255, 255, 255)])
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    draw.text((width // 20, height // 20), f"{number}/{total}\nSIMULATED", fill=1, font=_font(min(width, height) // 8))
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=9, bits=1)
    png = out.getvalue()
    after_header = 8 + 25  # signature, IHDR chunk
    head, tail = png[:after_header], png[after_header:]
    missing = size_bytes - len(png) - len(_chunk(b"tEXt", b"label\0".ljust(54)))
    return PaddedPng(head, _padding(max(0, missing)), tail)


@lru_cache(maxsize=16)
def _padding(size_bytes: int) -> memoryview:
    """Build an ancillary chunk of so many bytes in all (none below the twelve of an empty one)."""
    return memoryview(_chunk(b"paDd", bytes(size_bytes - 12)) if size_bytes >= 12 else b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
