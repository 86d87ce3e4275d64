"""How the commands print tables: for people on a terminal, and unwrapped into a pipe."""

from collections.abc import Sequence

import typer

from darkroom.cli.show import plain

PIPED_WIDTH = 200


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, nothing: str = "") -> None:
    """Print rows under their columns; `nothing` is said where there are none."""
    if not rows and nothing:
        typer.echo(nothing)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))  # no markup: it is others' text
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
