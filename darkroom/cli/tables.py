"""How the commands print tables: for people on a terminal, and unwrapped and whole into a pipe."""

from collections.abc import Sequence

import typer

from darkroom.cli.show import plain

PIPED_WIDTH = 200
LAST_LEAST = 20
"""To so little the last column is cut on a narrow terminal; all others stay whole, so that ids can be copied."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, nothing: str = "") -> None:
    """Print rows under their columns; `nothing` is said where there are none."""
    if not rows and nothing:
        typer.echo(nothing)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    table = Table(box=None)
    cells = [[Text(plain(cell)) for cell in row] for row in rows]  # no markup: it is others' text
    needed = [max([len(title), *(row[at].cell_len for row in cells)]) for at, title in enumerate(columns)]
    whole = sum(needed[:-1]) + 2 * len(columns)
    least = min(needed[-1], LAST_LEAST) if console.is_terminal else needed[-1]
    console.width = max(console.width, whole + least)
    for title in columns:
        table.add_column(title, no_wrap=True)
    for row in cells:
        row[-1].truncate(console.width - whole, overflow="ellipsis")
        table.add_row(*row)
    console.print(table)
