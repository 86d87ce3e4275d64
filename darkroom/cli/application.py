"""The command's root: what all commands share, and the list of them."""

import json
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from darkroom.cli import (
    batch,
    batches,
    connection,
    health,
    jobs,
    keys,
    lane,
    overview,
    processes,
    settings,
    submit,
    watch,
    webhooks,
)

DISTRIBUTION = "darkroom-queue"

app = typer.Typer(
    name="darkroom",
    help="Darkroom: a durable job queue for multi-image generation with Seedream 4.5 Sequential.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"darkroom {installed_version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: darkroom version --json")
def version(as_json: connection.AsJson = False) -> None:
    """Say which version this is."""
    if as_json:
        typer.echo(json.dumps({"version": installed_version(DISTRIBUTION)}))
    else:
        _print_version(True)


for commands in (submit, batch, batches, jobs, watch, overview, keys):
    commands.add_to(app)
processes.add_to(app)
settings.add_to(app)
lane.add_to(app)
health.add_to(app)
webhooks.add_to(app)
