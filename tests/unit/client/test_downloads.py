"""Outputs become files whole or not at all; what is there is left alone."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from darkroom.client.answers import Answer
from darkroom.client.downloads import download
from darkroom.client.errors import ConnectionFailed, DownloadFailed, NotFinished
from darkroom.client.files import Part
from darkroom.client.steps import Fetch, Pause
from darkroom.jobs import Job
from tests.support.client_samples import IMAGE, JOB_ID, SIGNED, answer, job_fields, output_fields

REDIRECT = Answer(307, {"location": SIGNED})


def done(**more: Any) -> Job:
    return Job.model_validate_json(answer(job_fields("completed", **{"outputs": [output_fields()]} | more)).body)


def play(generator: Generator[Any, Any, Any], *files: Any) -> tuple[list[Path], list[Any]]:
    """Give each fetch the next of `files`: bytes, a status or a failure."""
    left, asked, outcome = list(files), list[Any](), None
    while True:
        try:
            step = generator.send(outcome)
        except StopIteration as end:
            return end.value, asked
        asked.append(step)
        outcome = _outcome(step, left)


def _outcome(step: Any, left: list[Any]) -> Any:
    if isinstance(step, Pause):
        return None
    if not isinstance(step, Fetch):
        return REDIRECT
    file = left.pop(0)
    if isinstance(file, bytes):
        step.part.write(file)
        return Answer(200)
    return Answer(file) if isinstance(file, int) else file


def fetches(asked: list[Any]) -> int:
    return sum(isinstance(step, Fetch) for step in asked)


def test_outputs_are_named_by_job_and_index(tmp_path: Path) -> None:
    job = done(outputs=[output_fields(0), output_fields(1, b"other") | {"content_type": "image/jpeg"}])
    paths, _ = play(download(job, tmp_path, overwrite=False, retries=0), IMAGE, b"other")
    assert paths == [tmp_path / JOB_ID / "00.png", tmp_path / JOB_ID / "01.jpg"]
    assert [path.read_bytes() for path in paths] == [IMAGE, b"other"]
    assert sorted((tmp_path / JOB_ID).iterdir()) == paths


def test_what_is_there_is_not_fetched_again_unless_wanted(tmp_path: Path) -> None:
    path = tmp_path / JOB_ID / "00.png"
    path.parent.mkdir()
    path.write_bytes(b"x" * len(IMAGE))
    _, asked = play(download(done(), tmp_path, overwrite=False, retries=0))
    assert asked == []
    play(download(done(), tmp_path, overwrite=True, retries=0), IMAGE)
    assert path.read_bytes() == IMAGE
    path.write_bytes(b"half")
    play(download(done(), tmp_path, overwrite=False, retries=0), IMAGE)
    assert path.read_bytes() == IMAGE


@pytest.mark.parametrize("bad", [IMAGE[:-1], IMAGE[:-1] + b"X", 503, 403, ConnectionFailed("reset", connected=True)])
def test_a_bad_file_is_fetched_anew_by_a_fresh_address(tmp_path: Path, bad: Any) -> None:
    paths, asked = play(download(done(), tmp_path, overwrite=False, retries=1), bad, IMAGE)
    assert paths[0].read_bytes() == IMAGE
    assert [type(step).__name__ for step in asked] == ["Call", "Fetch", "Pause", "Call", "Fetch"]


@pytest.mark.parametrize("bad", [IMAGE[:-1], IMAGE[:-1] + b"X", 503, ConnectionFailed("reset", connected=True)])
def test_what_stays_bad_leaves_nothing(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(DownloadFailed, match=JOB_ID) as failure:
        play(download(done(), tmp_path, overwrite=False, retries=1), bad, bad)
    assert list((tmp_path / JOB_ID).iterdir()) == []
    assert "SECRETSIGNATURE" not in str(failure.value)


def test_what_is_gone_is_not_asked_for_again(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="404"):
        play(download(done(), tmp_path, overwrite=False, retries=5), 404)


def test_a_fetch_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    generator = download(done(), tmp_path, overwrite=False, retries=5)
    next(generator)
    fetch = generator.send(REDIRECT)
    fetch.part.write(IMAGE[:10])
    generator.close()
    assert list((tmp_path / JOB_ID).iterdir()) == []
    assert "SECRETSIGNATURE" not in repr(fetch)


def test_a_job_under_way_has_nothing_to_fetch(tmp_path: Path) -> None:
    generator = download(JOB_ID, tmp_path, overwrite=False, retries=0)
    next(generator)
    with pytest.raises(NotFinished, match="generating"):
        generator.send(answer(job_fields("generating")))


def test_a_job_that_was_cut_short_is_read_anew(tmp_path: Path) -> None:
    generator = download(done(outputs=[]), tmp_path, overwrite=False, retries=0)
    next(generator)
    generator.send(answer(job_fields("completed", outputs=[output_fields()])))
    fetch = generator.send(REDIRECT)
    fetch.part.write(IMAGE)
    with pytest.raises(StopIteration):
        generator.send(Answer(200))


@pytest.mark.parametrize("job_id", ["..", "../x", "/etc", ""])
def test_no_id_leads_out_of_the_directory(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(DownloadFailed, match="id"):
        play(download(done(id=job_id), tmp_path, overwrite=False, retries=0))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_half_a_file_goes_when_the_disk_is_full_only_as_it_is_closed(tmp_path: Path) -> None:
    image = tmp_path / "00.png"
    half = tmp_path / "00.png.0a1b2c3d.part"
    half.symlink_to("/dev/full")
    part = Part(half, image, done().outputs[0])
    part.write(b"few")  # still in the buffer
    with pytest.raises(OSError, match="No space left"):
        part.close()
    assert list(tmp_path.iterdir()) == []
