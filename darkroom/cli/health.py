"""`darkroom health`: whether the API or the worker of this machine is healthy, for containers and operators."""

from enum import StrEnum
from typing import Annotated

import typer

from darkroom.cli.refusal import refusals


class Which(StrEnum):
    """The processes that can be asked after."""

    API = "api"
    WORKER = "worker"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(health)


def health(role: Annotated[Which, typer.Argument(help="Which process of this machine.")] = Which.API) -> None:
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
            typer.echo(f"{role.value}: not known; {error}")
            return
    if problem is not None:
        typer.echo(f"{role.value}: {problem}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{role.value}: healthy")
