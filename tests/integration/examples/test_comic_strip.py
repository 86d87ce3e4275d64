"""One job, eight panels, one page, however often it is stopped and run again."""

import hashlib
import re
import signal
from pathlib import Path

import pytest

from simulator.testing import RunningSimulator
from tests.integration.examples.conftest import EXAMPLES, Folder
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

STRIP = "comic_strip/strip.py"
SCENES = [f"Scene <{number}> & so on" for number in range(1, 9)]


def write_story(folder: Folder, title: str) -> str:
    (folder.directory / "story.txt").write_text("\n\n".join([title, *SCENES]))
    return "story.txt"


def test_the_story_becomes_a_page_of_eight_panels(folder: Folder, fleet: Fleet, simulator: RunningSimulator) -> None:
    program = folder.run(STRIP)
    job_id, *statuses, last = [line.rstrip("\n") for line in program.out]
    assert [line.split()[-1] for line in statuses][-1] == "completed"
    assert "queued" in statuses[0]
    assert last == "strip/strip.html: 8 of 8 panels, 0.32 USD"

    page = (folder.directory / "strip" / "strip.html").read_text()
    sources = re.findall(r'<img src="([^"]+)"', page)
    assert sources == [f"{job_id}/{index:02d}.png" for index in range(8)]
    images = [(folder.directory / "strip" / source).read_bytes() for source in sources]
    outputs = fleet.job(job_id)["outputs"]
    assert [hashlib.sha256(image).hexdigest() for image in images] == [output["sha256"] for output in outputs]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    scenes = (EXAMPLES / "comic_strip" / "story.txt").read_text().splitlines()[1:]
    assert captions == [f"{number}. {scene}" for number, scene in enumerate(scenes, 1)]
    assert simulator.ledger(scenes[0])["totals"]["images"] == 8


def test_again_it_pays_and_fetches_nothing(folder: Folder, hero: str, simulator: RunningSimulator) -> None:
    story = write_story(folder, hero)
    first = folder.run(STRIP, story, "--directory", "mine")
    before = folder.files("mine")
    assert len(before) == 8
    second = folder.run(STRIP, story, "--directory", "mine")
    assert second.out == first.out
    assert folder.files("mine") == before
    assert simulator.ledger(hero)["totals"]["predictions"] == 1
    assert "Scene &lt;8&gt; &amp; so on" in (folder.directory / "mine" / "strip.html").read_text()


def test_killed_while_it_waits_the_same_command_goes_on(folder: Folder, hero: str, simulator: RunningSimulator) -> None:
    story = write_story(folder, f"{hero} [[sim:inference=600]]")
    program = folder.start(STRIP, story)
    wait_until(lambda: "generating" in program.output, what=f"the job to be upstream: {program.output}")
    program.stop(signal.SIGKILL)
    (prediction,) = simulator.predictions(hero)
    simulator.complete(prediction["id"])
    assert folder.run(STRIP, story).out[0] == program.out[0]
    assert len(folder.files("strip")) == 8
    assert simulator.ledger(hero)["totals"]["predictions"] == 1


def test_fewer_images_than_scenes_are_said_and_shown(folder: Folder, hero: str) -> None:
    program = folder.run(STRIP, write_story(folder, f"{hero} [[sim:outputs=6]]"))
    assert "6 of 8 panels" in program.out[-1]
    assert (folder.directory / "strip" / "strip.html").read_text().count("<img") == 6


def test_a_failed_strip_says_why_and_leaves_no_page(folder: Folder, hero: str) -> None:
    line = folder.refused(STRIP, write_story(folder, f"{hero} [[sim:fail=1200]]"))
    assert re.fullmatch(r"job_\w+: content_moderation: .* \(`darkroom retry job_\w+`, then run this again\)", line)
    assert not (folder.directory / "strip").exists()


@pytest.mark.parametrize("text", ["", "only who", "\n".join(["who", *map(str, range(16))])])
def test_a_story_without_panels_or_with_too_many_is_refused(folder: Folder, text: str) -> None:
    (folder.directory / "story.txt").write_text(text)
    assert folder.refused(STRIP, "story.txt").startswith("story.txt: a line that says who and how, then 1 to 15 lines")


def test_a_story_that_is_not_there_is_said(folder: Folder) -> None:
    assert Path("none.txt").name in folder.refused(STRIP, "none.txt")
