"""`darkroom batches`: list batches, see one, stop it, let its failed jobs go on, read its results."""

import json
from itertools import islice
from typing import Annotated, Any

import typer

from darkroom.cli import jobs
from darkroom.cli.connection import AsJson, Key, Url, callers_api, one_line_errors, open_client
from darkroom.cli.jobs import pages
from darkroom.cli.reading import read_batch_id
from darkroom.cli.show import batch_line, duration, moment, usd
from darkroom.cli.tables import print_table

COLUMNS = ["batch", "status", "jobs", "completed", "failed", "other ends", "spent", "created"]

batches = typer.Typer(
    name="batches",
    help="See your batches, stop them, let their failed jobs go on, read their results.",
    no_args_is_help=True,
)

BatchId = Annotated[str, typer.Argument(metavar="BATCH", callback=read_batch_id, help="The batch's id: batch_….")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(batches)


@batches.command("list", epilog="Example: darkroom batches list --limit 5")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List your batches, the newest first."""
    found = list(islice(pages(callers_api(url, key), "batches", {}, page=min(limit, jobs.PAGE)), limit))
    if as_json:
        typer.echo(json.dumps(found))
        return
    print_table(COLUMNS, [_row(batch) for batch in found], nothing="no batches")


@batches.command(epilog="Example: darkroom batches show batch_…")
def show(given: BatchId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show where a batch is: its jobs by status, what it has cost, what it waits for."""
    found = callers_api(url, key).call("GET", "batches", given)
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(batch_line(found))
    for name in ("created_at", "accepted_at", "cancel_requested_at", "finished_at"):
        if found[name]:
            typer.echo(f"{name.removesuffix('_at').replace('_', ' ')}: {moment(found[name])}")
    if found["estimated_seconds_left"] is not None:
        typer.echo(f"about {duration(found['estimated_seconds_left'])} left")
    if found["manifest"]:
        typer.echo(f"manifest: {found['manifest']['bucket']}/{found['manifest']['batch_key']}")
    if found["skipped"]:
        typer.echo(f"lines passed over: {found['skipped']['lines']:,}")


@batches.command(epilog="Example: darkroom batches results batch_… | jq .job.outputs[].url")
def results(
    given: BatchId,
    after: Annotated[int, typer.Option(min=0, help="Only lines after this one.")] = 0,
    url: Url = None,
    key: Key = None,
    _as_json: Annotated[bool, typer.Option("--json", help="It is JSON in any case, an object a line.")] = False,
) -> None:
    """Print what has ended so far, a JSON object a line, in the order of the batch's lines."""
    with one_line_errors(), open_client(url, key) as client:
        for result in client.results(given, after=after):
            line = {"line": result.line, "custom_id": result.custom_id, "job": result.job.model_dump(mode="json")}
            typer.echo(json.dumps(line))


@batches.command(epilog="Example: darkroom batches cancel batch_…")
def cancel(given: BatchId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Admit nothing more of a batch; its waiting jobs end canceled, at no cost."""
    done = callers_api(url, key).call("POST", "batches", given, "cancel")
    typer.echo(json.dumps(done) if as_json else batch_line(done))


@batches.command(epilog="Example: darkroom batches retry batch_… --include content_moderation")
def retry(
    given: BatchId,
    include: Annotated[
        str | None, typer.Option(metavar="CODE,…", help="Also jobs that failed so, which are left out otherwise.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a batch's failed jobs go on: what upstream still has at no cost, the rest anew."""
    jobs.retry_batch(callers_api(url, key), given, include=include, as_json=as_json)


def _row(batch: Any) -> list[str]:
    counts, cost = batch["counts"], batch["cost"]
    return [
        batch["id"],
        batch["status"],
        f"{batch['total']:,}",
        f"{counts['completed']:,}",
        f"{counts['failed']:,}",
        f"{counts['canceled'] + counts['expired']:,}",
        usd(cost["spent"]),
        moment(batch["created_at"]),
    ]
