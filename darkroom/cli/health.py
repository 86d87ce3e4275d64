"""`darkroom health`: whether the API or the worker of this machine is healthy, for containers and operators."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from darkroom.cli.connection import AsJson
from darkroom.cli.refusal import refusals


class Which(StrEnum):
    """The processes that can be asked after."""

    API = "api"
    WORKER = "worker"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog="Example: darkroom health worker")(health)


def health(
    role: Annotated[Which, typer.Argument(help="Which process of this machine.")] = Which.API, as_json: AsJson = False
) -> None:
    """Say whether the API or worker of this machine is healthy: exit code 0, or 1 and one line that says why.

    A worker whose Redis does not answer is not known to be unhealthy: exit code 0, and a line that says so.
    """
    with refusals():
        from darkroom.health import UnknownHealthError, problem_of
        from darkroom.settings import load_settings

        load_settings()
        try:
            problem = problem_of(role.value)
        except UnknownHealthError as error:
            if as_json:
                typer.echo(json.dumps({"process": role.value, "healthy": None, "problem": str(error)}))
            else:
                typer.echo(f"{role.value}: not known; {error}")
            return
    if as_json:
        typer.echo(json.dumps({"process": role.value, "healthy": problem is None, "problem": problem}))
        raise typer.Exit(0 if problem is None else 1)
    if problem is not None:
        typer.echo(f"{role.value}: {problem}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{role.value}: healthy")
