"""Judges what a client that was killed over and over has brought into its folder, and what it cost to bring it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bucket_door import Fetch
from bench.figures import BenchError


@dataclass(frozen=True, slots=True)
class Life:
    """One run of the client: Unix seconds, and the images (`job_…/00.png`) in the folder when it was over."""

    began_at: float
    ended_at: float
    ended_by: str
    images: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fetches:
    """GETs of outputs: in all, of images fetched once alone, and of those that a kill cut and that came again."""

    in_all: int
    once: int
    cut: tuple[str, ...]


def images_in(folder: Path) -> frozenset[str]:
    """Name the images that are there, whole as they are: `job_…/00.png`."""
    return frozenset(f"{path.parent.name}/{path.name}" for path in folder.glob("job_*/*.png"))


def count_fetches(fetches: Iterable[Fetch], lives: Sequence[Life]) -> Fetches:
    """Count them.

    Raises:
        BenchError: an image was fetched twice in one life, or in a life that had it in its folder already.
    """
    seen = Counter[tuple[str, int]]()
    for fetch in fetches:
        seen[fetch.image, _life_of(fetch, lives)] += 1
    times = Counter[str]()
    for (image, number), count in seen.items():
        if count > 1:
            raise BenchError(f"{image} was fetched {count} times by the client's life {number + 1}")
        if number and image in lives[number - 1].images:
            raise BenchError(f"{image} was in the folder and was fetched again by the client's life {number + 1}")
        times[image] += 1
    cut = tuple(sorted(image for image, count in times.items() if count > 1))
    return Fetches(sum(times.values()), len(times) - len(cut), cut)


def _life_of(fetch: Fetch, lives: Sequence[Life]) -> int:
    begun = [number for number, life in enumerate(lives) if life.began_at <= fetch.at]
    if not begun:
        raise BenchError(f"{fetch.image} was fetched before the client began")
    return begun[-1]


def check_folder(folder: Path, results: Iterable[dict[str, Any]], *, jobs: int, images_each: int) -> int:
    """Hold every image in the folder against the job that it is of; gives the bytes that are there.

    Raises:
        BenchError: a job did not complete, an image is missing or is not the job's, or something else is there.
    """
    expected: dict[str, tuple[int, str]] = {}
    for result in results:
        job = result["job"]
        if job["status"] != "completed" or len(job["outputs"]) != images_each:
            raise BenchError(f"{job['id']} is {job['status']} with {len(job['outputs'])} of {images_each} images")
        for output in job["outputs"]:
            expected[f"{job['id']}/{output['index']:02d}.png"] = output["bytes"], output["sha256"]
    if len(expected) != jobs * images_each:
        raise BenchError(f"the batch has {len(expected)} images, not {jobs} × {images_each}")
    there = {f"{path.parent.name}/{path.name}" for path in folder.glob("job_*/*")}
    if there != expected.keys():
        raise BenchError(
            f"{len(expected.keys() - there)} images are missing, {len(there - expected.keys())} are others'"
        )
    for name, (size_bytes, sha256) in expected.items():
        content = (folder / name).read_bytes()
        if len(content) != size_bytes or hashlib.sha256(content).hexdigest() != sha256:
            raise BenchError(f"{name} is not what the job says")
    return sum(size_bytes for size_bytes, _ in expected.values())


def check_paid_once(predictions: Iterable[dict[str, Any]], prompts: Sequence[str]) -> None:
    """Hold the ledger of upstream against the lines of the file.

    Raises:
        BenchError: a prompt was sent twice or never, or something else was.
    """
    bought = Counter(str(prediction["prompt"]) for prediction in predictions)
    if more := [prompt for prompt, count in bought.items() if count > 1]:
        raise BenchError(f"{len(more)} jobs were paid for twice, such as {more[0]!r}")
    if bought.keys() != set(prompts):
        raise BenchError(f"upstream was paid for {len(bought)} prompts, not for the file's {len(prompts)}")
