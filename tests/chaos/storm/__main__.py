"""`python -m tests.chaos.storm`: storms of many jobs, their totals to `bench/results/`, exit code 1 for any finding."""

import secrets
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from bench.figures import Figure, Outcome
from bench.machine import ROOT, surroundings
from bench.results import save, write_table
from tests.chaos.storm.plan import Shape
from tests.chaos.storm.report import Verdict
from tests.chaos.storm.run import run_storm

ALL = (
    ("worker_kill", 6),
    ("worker_freeze", 3),
    ("worker_term", 2),
    ("api_kill", 3),
    ("valkey_kill", 3),
    ("s3_kill", 3),
    ("upstream_kill", 2),
    ("upstream_freeze", 2),
    ("receiver_down", 1),
    ("list_delay", 2),
    ("submit_fault", 10),
    ("other_fault", 8),
)
SYNC_LEASE_S = 150.0
"""A submit in sync mode whose worker is killed is missed that late, so that the end may take as long."""


def main(
    seed: Annotated[list[int] | None, typer.Option(help="One storm each; drawn and printed when left out.")] = None,
    jobs: Annotated[int, typer.Option(min=10, help="Jobs of each storm.")] = 1_000,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long each storm rages.")] = 3.0,
    workers: Annotated[int, typer.Option(min=1)] = 3,
    sync: Annotated[bool, typer.Option(help="Let some jobs use sync mode.")] = True,
    out: Annotated[Path, typer.Option(help="Where results are written.")] = ROOT / "bench" / "results",
) -> None:
    """Run storms and judge them; what a storm leaves is kept where it broke a promise."""
    started, verdicts = surroundings(), []
    for one in seed or [secrets.randbelow(1_000_000)]:
        shape = Shape(jobs, minutes * 60, workers, 1.5, ALL, longest_freeze_s=25.0, sync=sync)
        folder = Path(tempfile.mkdtemp(prefix=f"darkroom-storm-{one}-"))
        typer.echo(f"storm of seed {one}: {jobs} jobs, {minutes:g} minutes, logs in {folder}", err=True)
        verdict = run_storm(one, shape, folder, settle_s=SYNC_LEASE_S + 90.0)
        typer.echo(verdict.text(), err=True)
        verdicts.append(verdict)
        if not verdict.findings:
            shutil.rmtree(folder)
    save(_outcome(verdicts, jobs=jobs, minutes=minutes, workers=workers), out, started=started)
    typer.echo(f"\n{write_table(out)} holds the totals", err=True)
    raise typer.Exit(any(verdict.findings for verdict in verdicts))


def _outcome(verdicts: list[Verdict], **parameters: float) -> Outcome:
    counts: Counter[str] = Counter()
    for verdict in verdicts:
        for name, count in verdict.totals.items():
            counts[name] = max(counts[name], count) if name.endswith("at most") else counts[name] + count
        counts.update({f"struck: {kind}": count for kind, count in sorted(verdict.struck.items())})
        counts["findings"] += len(verdict.findings)
    case = f"{len(verdicts)} storms, seeds {', '.join(str(verdict.seed) for verdict in verdicts)}"
    figures = [Figure(case, name, "", (float(count),)) for name, count in counts.items()]
    recoveries = tuple(value for verdict in verdicts for value in verdict.recoveries_s)
    if recoveries:
        figures.append(
            Figure(case, "recovery: from a kill or stop to the next step of all jobs under way", "s", recoveries)
        )
    rests = tuple(verdict.settled_after_s for verdict in verdicts)
    figures.append(Figure(case, "from the healing until all is at rest", "s", rests))
    raw = [{"seed": v.seed, "totals": v.totals, "struck": v.struck, "findings": v.findings} for v in verdicts]
    return Outcome("chaos", parameters | {"seeds": [verdict.seed for verdict in verdicts]}, figures, raw)


if __name__ == "__main__":
    typer.run(main)
