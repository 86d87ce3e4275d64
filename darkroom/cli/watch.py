"""`darkroom watch`: follow a job or a batch to its end, fetch its images; `submit` and `batch` end with the same."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli.connection import AsJson, Key, Url, one_line_errors, patient_client
from darkroom.cli.exits import ExitCode
from darkroom.cli.http import refused
from darkroom.cli.jobs import AnyId
from darkroom.cli.reading import is_batch
from darkroom.cli.show import job_line
from darkroom.cli.summary import Ending
from darkroom.moments import moment_text

if TYPE_CHECKING:
    from darkroom.batches import Batch
    from darkroom.client import AsyncClient
    from darkroom.jobs import Job

Download = Annotated[
    Path | None,
    typer.Option("--download", metavar="DIR", help="Fetch the images there, a directory a job; those there are kept."),
]
Timeout = Annotated[
    float | None, typer.Option(min=0, metavar="SECONDS", help="Give up watching after that; exit code 4.")
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of something that is followed."""

    directory: Path | None = None
    timeout_s: float | None = None
    as_json: bool = False


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog="Example: darkroom watch job_… --download shots")(watch)


def watch(
    given: AnyId,
    download: Download = None,
    timeout: Timeout = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Follow a job or a batch to its end. Exit code 0 if everything completed, 3 if not.

    With --json a job's status changes are a JSON object a line, the job at its end the last one; a batch is one.
    """
    batch = is_batch(given)
    wanted = Wanted(download, timeout, as_json)

    async def follow() -> int:
        async with patient_client(url, key) as client:
            if batch:
                return await watch_batch(client, await client.batch(given), wanted)
            return await watch_job(client, given, wanted, each_change=as_json)

    raise typer.Exit(run(follow, goes_on=given, directory=download, shared=not batch))


def run(
    follow: Callable[[], Any],
    *,
    goes_on: str,
    of_file: str = "",
    directory: Path | None = None,
    shared: bool = False,
) -> int:
    """Run a loop until it gives the exit code; Ctrl-C and a time that is over end it, and the work itself goes on.

    Meanwhile `directory`, if there is one, is this command's alone, or with `shared` that of others who share it.

    Raises:
        typer.Exit: it went wrong, and a line has said why.
    """
    from darkroom.cli.downloads import only_here

    try:
        with one_line_errors(of_file=of_file), only_here(directory, shared=shared):
            code: int = asyncio.run(follow())
    except TimeoutError:
        raise refused(f"not over in time; {goes_on} goes on", code=ExitCode.TIMEOUT) from None
    return code


async def watch_job(client: "AsyncClient", job_id: str, wanted: Wanted, *, each_change: bool = False) -> int:
    """Follow a job, say how it ended and where its images are, and give the exit code."""
    from darkroom.cli.screens import JobScreen

    async with asyncio.timeout(wanted.timeout_s):
        with JobScreen(job_id) as screen:
            async for change in client.events(job_id):
                if each_change:
                    typer.echo(json.dumps(_change(change)))
                else:
                    screen.show(str(change.status))
        job = await client.job(job_id)
        paths = await _fetched(client, job, wanted.directory)
    _say_end(job.model_dump(mode="json"), paths, wanted)
    return ExitCode.OK if job.status == "completed" else ExitCode.NOT_COMPLETED


async def watch_batch(
    client: "AsyncClient", batch: "Batch", wanted: Wanted, *, line_numbers: Sequence[int] = ()
) -> int:
    """Follow a batch, say how it ended, and give the exit code."""
    from contextlib import AsyncExitStack

    from darkroom.cli.downloads import Downloads
    from darkroom.cli.following import BatchFollower
    from darkroom.cli.screens import BatchScreen

    async with asyncio.timeout(wanted.timeout_s), AsyncExitStack() as stack:
        downloads = None
        if wanted.directory is not None:
            downloads = await stack.enter_async_context(Downloads(client, wanted.directory))
        screen = stack.enter_context(BatchScreen(downloads))
        follower = BatchFollower(client, batch, downloads=downloads, on_look=screen.show, line_numbers=line_numbers)
        ended = await follower.follow()
    ending = Ending(ended.model_dump(mode="json"), dict(follower.codes.most_common()), downloads)
    typer.echo(json.dumps(ending.document()) if wanted.as_json else "\n".join(ending.lines()))
    return ending.exit_code


async def _fetched(client: "AsyncClient", job: "Job", directory: Path | None) -> list[Path] | None:
    from darkroom.cli.downloads import fetch_alone

    if directory is None or job.status != "completed":
        return None
    return await fetch_alone(client, job, directory)


def _change(change: Any) -> dict[str, Any]:
    return {
        "job_id": change.job_id,
        "status": str(change.status),
        "at": moment_text(change.at),
        "attempt": change.attempt,
    }


def _say_end(job: dict[str, Any], paths: list[Path] | None, wanted: Wanted) -> None:
    """Put the images' places on stdout, one a line, and the sentence on stderr."""
    if wanted.as_json:
        files = {} if paths is None else {"files": [str(path) for path in paths]}
        typer.echo(json.dumps(job | files))
        return
    typer.echo(job_line(job), err=True)
    for place in paths if paths is not None else [output["url"] for output in job["outputs"]]:
        typer.echo(str(place))
