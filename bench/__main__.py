"""`python -m bench [measurement …]`: run the measurements (default: all) and write the table."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from bench import latency, menu
from bench.figures import BenchError
from bench.goal_rows import GOALS
from bench.goals import write_goals
from bench.machine import ROOT, surroundings
from bench.menu import BESIDE_OTHERS, NAMES
from bench.peers.sides import BIN
from bench.results import save, write_table


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[MEASUREMENT]...", help=", ".join(NAMES))] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs of each case of `latency`.")] = 200,
    rate: Annotated[list[float] | None, typer.Option(min=0.1, help="Jobs a second; one case each.")] = None,
    inference: Annotated[
        list[str] | None, typer.Option(metavar="MIN:MAX", help="Seconds upstream takes; one case each.")
    ] = None,
    depth: Annotated[list[int] | None, typer.Option(min=100, help="Jobs that wait in `scale`; one case each.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="What the kills of `webhook_kills` and `cli_batch` are drawn from.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where results are written.")] = ROOT / "bench" / "results",
    quick: Annotated[bool, typer.Option(help="Run every part on next to nothing; its figures mean nothing.")] = False,
) -> None:
    """Measure on real processes and write one JSON file a measurement and the table of the latest ones."""
    wanted = names or list(NAMES)
    if unknown := sorted(set(wanted) - set(NAMES)):
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(NAMES)}")
    if quick and out == ROOT / "bench" / "results":
        raise typer.BadParameter("--quick needs an --out of its own: its figures mean nothing")
    if not quick and BESIDE_OTHERS & set(wanted) and not BIN.exists():
        raise typer.BadParameter(f"{', '.join(sorted(BESIDE_OTHERS & set(wanted)))}: run `make peers` before")
    drawn = secrets.randbelow(2**31) if seed is None else seed
    counting = menu.quick() if quick else menu.full(_latency_cases(jobs, rate, inference), depth)
    measurements = counting | menu.killed(drawn, quick=quick)
    for name in wanted:
        started = surroundings()
        typer.echo(f"{name} …", err=True)
        try:
            path = save(measurements[name](), out, started=started)
        except BenchError as error:
            typer.echo(f"{name}: {error}", err=True)
            raise typer.Exit(1) from error
        typer.echo(f"{name}: {path}", err=True)
    write_goals(out, GOALS)
    typer.echo(write_table(out).read_text())


def _latency_cases(jobs: int, rates: list[float] | None, inferences: list[str] | None) -> list[latency.Case]:
    if rates is None and inferences is None:
        loads = [(5.0, (1.0, 2.0)), (20.0, (1.0, 2.0)), (5.0, (5.0, 8.0))]
    else:
        loads = [(rate, _range(text)) for rate in rates or [5.0] for text in inferences or ["1:2"]]
    return [latency.Case(jobs, rate, shortest, longest) for rate, (shortest, longest) in loads]


def _range(text: str) -> tuple[float, float]:
    shortest, _, longest = text.partition(":")
    try:
        return float(shortest), float(longest or shortest)
    except ValueError:
        raise typer.BadParameter(f"--inference {text}: give MIN:MAX in seconds") from None


if __name__ == "__main__":
    typer.run(main)
