"""A wrong setting or a missing part ends a command with one clear line each, never with a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from darkroom.errors import ConfigurationError

EXIT_CONFIGURATION = 2
_OWN = {"darkroom", "api", "worker", "simulator", "deploy"}


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a `ConfigurationError`, or an extra that is not installed, into lines on stderr and exit code 2."""
    try:
        yield
    except ConfigurationError as error:
        for problem in error.problems:
            typer.echo(f"darkroom: {problem}", err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OWN:
            raise
        typer.echo(
            f"darkroom: {error.name} is not installed; this command needs the package's extras: "
            "pip install 'darkroom-queue[server,embedded,simulator]'",
            err=True,
        )
        raise typer.Exit(EXIT_CONFIGURATION) from None


def tell_unknown_names() -> None:
    """Say which variables look like settings and are none; a misspelt limit would otherwise be missed in silence."""
    from darkroom.settings import AREAS
    from darkroom.settings.names import unknown_names

    for line in unknown_names(AREAS):
        typer.echo(f"darkroom: {line}", err=True)
