"""The pictures: real, of the asked size, the same each time, and one recognisable series per job."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageChops

from simulator.images import Panel, draw_panel, padded_png
from simulator.testing import RunningSimulator
from tests.simulator.helpers import Client


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in image.convert("RGB").getcolors(maxcolors=256) or []}


def test_panels_of_a_job_share_their_colours_and_differ_in_what_they_show() -> None:
    panels = [opened(draw_panel(Panel("a fox", 1440, 2560, number, 4))) for number in (1, 2, 4)]
    assert {image.size for image in panels} == {(1440, 2560)}
    assert colours(panels[0]) == colours(panels[1]) == colours(panels[2])
    assert ImageChops.difference(panels[0].convert("RGB"), panels[1].convert("RGB")).getbbox()
    other = opened(draw_panel(Panel("a wolf", 1440, 2560, 1, 4)))
    assert colours(other) != colours(panels[0])


def test_the_same_panel_gives_the_same_bytes() -> None:
    panel = Panel("a fox", 2048, 2048, 1, 2)
    assert draw_panel(panel) == draw_panel(panel)


@pytest.mark.parametrize(("name", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats_are_real_and_the_address_may_lie(client: Client, sim: RunningSimulator, name: str, kind: str) -> None:
    sim.settings(output_format=name, output_extension="jpeg")
    (url,) = client.done(client.created(size="2560*1440"))["outputs"]
    assert ".jpeg?" in url
    answer = client.http.get(url)
    assert answer.headers["Content-Type"] == f"image/{name}"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert opened(answer.content).format == kind


@pytest.mark.parametrize("size_bytes", [20_000, 100_000, 16_000_000])
def test_padded_pictures_have_exactly_the_asked_bytes(size_bytes: int) -> None:
    data = b"".join(padded_png(4096, 4096, 1, 4, size_bytes).parts("some-id/1"))
    assert len(data) == size_bytes
    assert opened(data).size == (4096, 4096)


def test_padded_pictures_differ_from_file_to_file(client: Client, sim: RunningSimulator) -> None:
    sim.settings(image_bytes=50_000)
    first, second = client.done(client.created(max_images=2))["outputs"]
    third = client.done(client.created(max_images=2))["outputs"][0]
    files = [client.http.get(url).content for url in (first, second, third)]
    assert {len(data) for data in files} == {50_000}
    assert len(set(files)) == 3
    assert opened(files[0]).size == (2048, 2048)


@pytest.mark.parametrize("prompt", ["狐狸 🦊", "x" * 5000, "\n\n", "a\x00b"])
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    assert opened(draw_panel(Panel(prompt, 2560, 1440, 15, 15))).size == (2560, 1440)
