"""Draws a comic strip as one job, a panel for each scene of a story, and lays it out on a page.

    make run                                          # in one terminal
    .venv/bin/python examples/comic_strip/strip.py    # in another, in the same folder
    open strip/strip.html                             # or xdg-open, or start

A story of your own: `strip.py story.txt --directory mine`; its first line says who and how, each other line is a
panel (15 at most). Without `make run`, DARKROOM_URL and DARKROOM_API_KEY say where the service is.

The same story again within a day shows the same strip and costs nothing: the Idempotency-Key is made of the prompt.
So the command may be stopped or killed at any moment and given again.
"""

import argparse
import hashlib
import html
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from darkroom.client import Client, ConnectionFailed, DarkroomError, Job

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
  body {{ font: 16px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }}
  main {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)) }}
  figure {{ margin: 0 }}
  img {{ border: 2px solid; display: block; width: 100% }}
</style>
<h1>{title}</h1>
<main>
{panels}
</main>
</html>
"""
PANEL = '<figure><img src="{source}" alt="Panel {number}"><figcaption>{number}. {scene}</figcaption></figure>'


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a comic strip.")
    parser.add_argument("story", type=Path, nargs="?", default=Path(__file__).with_name("story.txt"))
    parser.add_argument("--directory", type=Path, default=Path("strip"))
    options = parser.parse_args()
    title, *scenes = [line.strip() for line in options.story.read_text("utf-8").splitlines() if line.strip()] or [""]
    if not 1 <= len(scenes) <= 15:
        sys.exit(f"{options.story}: a line that says who and how, then 1 to 15 lines, one for each panel")
    with open_client() as darkroom:
        job = draw(darkroom, title, scenes)
        paths = darkroom.download(job, options.directory)
    page = options.directory / "strip.html"
    page.write_text(page_of(title, scenes, [path.relative_to(options.directory) for path in paths]), "utf-8")
    print(f"{page}: {len(paths)} of {len(scenes)} panels, {job.cost.spent:.2f} USD")


def draw(darkroom: Client, title: str, scenes: Sequence[str]) -> Job:
    """Post the strip, say what becomes of it, and give the completed job."""
    numbered = "\n".join(f"{number}. {scene}" for number, scene in enumerate(scenes, 1))
    prompt = f"A comic strip in {len(scenes)} panels, one image for each. {title}.\n{numbered}"
    key = f"strip-{hashlib.sha256(prompt.encode()).hexdigest()}"
    job = darkroom.submit(prompt, max_images=len(scenes), idempotency_key=key)
    print(job.id)
    for change in darkroom.events(job.id):  # from the first one on, also where the job is an old one
        print(f"{change.at:%H:%M:%S} {change.status}", flush=True)
    job = darkroom.job(job.id)
    if job.error:
        sys.exit(f"{job.id}: {job.error.code}: {job.error.message} (`darkroom retry {job.id}`, then run this again)")
    if job.status != "completed":
        sys.exit(f"{job.id}: {job.status} (`darkroom retry {job.id}`, then run this again)")
    return job


def page_of(title: str, scenes: Sequence[str], sources: Sequence[Path]) -> str:
    """Lay the panels out in their order; there may be fewer images than scenes."""
    numbered = enumerate(zip(sources, scenes, strict=False), 1)
    panels = [
        PANEL.format(source=html.escape(source.as_posix()), number=number, scene=html.escape(scene))
        for number, (source, scene) in numbered
    ]
    return PAGE.format(title=html.escape(title), panels="\n".join(panels))


def open_client() -> Client:
    """Find the service and the key, and make sure at once that it is there and takes the key."""
    kept = Path(".darkroom/api-key")  # `make run` keeps it there
    key = os.environ.get("DARKROOM_API_KEY") or (kept.read_text().strip() if kept.exists() else "")
    if not key:
        sys.exit(f"no API key: DARKROOM_API_KEY is not set, and `make run` has left none in {kept}")
    with Client(api_key=key, retries=1) as first:
        first.status()
    return Client(api_key=key)


if __name__ == "__main__":
    try:
        main()
    except ConnectionFailed as error:
        sys.exit(f"{error}; does `make run` run?")
    except (DarkroomError, OSError, UnicodeError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the job goes on, and so does this command when it is given again")
