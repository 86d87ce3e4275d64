"""`darkroom jobs`, `cancel` and `retry`: see your jobs, stop them, and let failed ones go on."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import typer

from darkroom.cli.connection import AsJson, Key, Url, callers_api
from darkroom.cli.exits import ExitCode
from darkroom.cli.http import Api, refused
from darkroom.cli.reading import is_batch, read_moment, read_pairs
from darkroom.cli.show import batch_line, counted, job_line, moment, shortened, usd
from darkroom.cli.tables import print_table
from darkroom.jobs import JobStatus

PAGE = 200
COLUMNS = ["job", "status", "images", "spent", "created", "custom id", "prompt"]

AnyId = Annotated[str, typer.Argument(metavar="ID", help="A job's or a batch's: job_… or batch_….")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("jobs", epilog="Example: darkroom jobs --status failed --since 24h")(list_jobs)
    app.command("cancel", epilog="Example: darkroom cancel job_…")(cancel)
    app.command("retry", epilog="Example: darkroom retry batch_… --include content_moderation")(retry)


def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only with this status.")] = None,
    batch: Annotated[str | None, typer.Option(metavar="ID", help="Only of this batch.")] = None,
    custom_id: Annotated[str | None, typer.Option(help="Only with this name of your own.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="Created from then on: a time, or how long ago: 30m, 7d.")] = None,
    before: Annotated[str | None, typer.Option(help="Created before: a time, or how long ago: 30m, 7d.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List your jobs, the newest first."""
    query = {
        "status": status and status.value,
        "batch_id": batch,
        "custom_id": custom_id,
        "created_after": since and read_moment(since, option="--since"),
        "created_before": before and read_moment(before, option="--before"),
        **{f"metadata.{name}": value for name, value in read_pairs(metadata, option="--metadata").items()},
    }
    found = list(islice(pages(callers_api(url, key), "jobs", query, page=min(limit, PAGE)), limit))
    if as_json:
        typer.echo(json.dumps(found))
        return
    print_table(COLUMNS, [_row(job) for job in found], nothing="no jobs")


def cancel(given: AnyId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel a job, or what still waits of a batch. What was submitted upstream is paid for."""
    batch = is_batch(given)
    done = callers_api(url, key).call("POST", "batches" if batch else "jobs", given, "cancel")
    if as_json:
        typer.echo(json.dumps(done))
        return
    typer.echo(batch_line(done) if batch else job_line(done))


def retry(
    given: AnyId,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="A job: make a new attempt, which costs again, whatever upstream has.")
    ] = False,
    include: Annotated[
        str | None,
        typer.Option(metavar="CODE,…", help="A batch: also jobs that failed so, which are left out otherwise."),
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a failed, canceled or expired job go on, or all failed jobs of a batch.

    What upstream still has is resumed at no cost; the rest gets a new attempt.
    """
    batch = is_batch(given)
    if batch and fresh:
        raise refused("--fresh: is for a job, not for a batch", code=ExitCode.USAGE)
    if include and not batch:
        raise refused("--include: is for a batch, not for a job", code=ExitCode.USAGE)
    service = callers_api(url, key)
    if batch:
        retry_batch(service, given, include=include, as_json=as_json)
        return
    done = service.call("POST", "jobs", given, "retry", query={"fresh": "true" if fresh else None})
    typer.echo(json.dumps(done) if as_json else job_line(done))


def retry_batch(service: Api, batch_id: str, *, include: str | None, as_json: bool) -> None:
    """Let a batch's failed jobs go on, and say how many do and what it costs."""
    done = service.call("POST", "batches", batch_id, "retry", query={"include": include})
    typer.echo(json.dumps(done) if as_json else _retried(done))


def pages(service: Api, kind: str, query: dict[str, Any], *, page: int = PAGE) -> Iterator[Any]:
    """Give everything that a listing has, page by page."""
    cursor = None
    while True:
        found = service.call("GET", kind, query={**query, "limit": page, "cursor": cursor})
        yield from found["data"]
        cursor = found["next_cursor"]
        if cursor is None:
            return


def _row(job: Any) -> list[str]:
    cost, error = job["cost"], job["error"]
    return [
        job["id"],
        f"{job['status']} ({error['code']})" if error else job["status"],
        f"{cost['images_delivered']}/{cost['images_requested']}",
        usd(cost["spent"]),
        moment(job["created_at"]),
        job["custom_id"] or "",
        shortened(job["request"]["prompt"]),
    ]


def _retried(done: Any) -> str:
    resumed, new = done["retried"]["resumed"], done["retried"]["new_attempts"]
    line = f"{done['batch']['id']}: {resumed:,} resumed, {new:,} anew, {usd(done['cost']['estimated'])} estimated"
    left_out = f"; left out: {counted(done['not_retried'])} (--include takes them too)" if done["not_retried"] else ""
    return line + left_out
