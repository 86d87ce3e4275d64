"""`python -m bench [measurement …]`: run the measurements (default: all) and write the table."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench import (
    batches,
    callbacks,
    cli_batch,
    fairness,
    guard,
    latency,
    limiter,
    memory,
    reconcile,
    retention,
    saturation,
    scale,
    startup,
    webhook_isolation,
    webhook_kills,
    webhook_rate,
)
from bench.errand import Errand
from bench.figures import BenchError, Outcome
from bench.machine import ROOT, surroundings
from bench.peers import whole
from bench.results import save, write_table

Measurement = Callable[[], Outcome]
NAMES = (
    "latency", "callbacks", "memory", "startup", "fairness", "scale", "reconcile", "batches", "cli_batch", "saturation",
    "limiter_rate", "limiter_late_answers", "limiter_concurrency",
    "webhook_isolation", "webhook_rate", "webhook_kills", "guard", "retention", "peers", "peers_long",
)  # fmt: skip


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
    measurements = (_quick() if quick else _full(jobs, rate, inference, depth)) | _killed(seed, quick=quick)
    for name in wanted:
        started = surroundings()
        typer.echo(f"{name} …", err=True)
        try:
            path = save(measurements[name](), out, started=started)
        except BenchError as error:
            typer.echo(f"{name}: {error}", err=True)
            raise typer.Exit(1) from error
        typer.echo(f"{name}: {path}", err=True)
    typer.echo(write_table(out).read_text())


def _full(
    jobs: int, rates: list[float] | None, inferences: list[str] | None, depths: list[int] | None
) -> dict[str, Measurement]:
    if rates is None and inferences is None:
        loads = [(5.0, (1.0, 2.0)), (20.0, (1.0, 2.0)), (5.0, (5.0, 8.0))]
    else:
        loads = [(rate, _range(text)) for rate in rates or [5.0] for text in inferences or ["1:2"]]
    cases = [latency.Case(jobs, rate, shortest, longest) for rate, (shortest, longest) in loads]
    return {
        "latency": lambda: latency.run(cases),
        "callbacks": lambda: callbacks.run(callbacks.CASE, rounds=callbacks.ROUNDS),
        "memory": lambda: memory.run(memory.Load()),
        "startup": lambda: startup.run(startup.Starts()),
        "fairness": lambda: fairness.run("fairness", [fairness.CONCURRENCY_BINDS, fairness.RATE_BINDS]),
        "scale": lambda: scale.run(scale.Depths(tuple(sorted(depths))) if depths else scale.Depths()),
        "reconcile": lambda: reconcile.run(reconcile.Losses()),
        "batches": lambda: batches.run(batches.Sizes()),
        "saturation": lambda: saturation.run(saturation.Load()),
        "limiter_rate": lambda: limiter.run("limiter_rate", limiter.RATE_BINDS),
        "limiter_late_answers": lambda: limiter.run("limiter_late_answers", limiter.LATE_ANSWERS),
        "limiter_concurrency": lambda: limiter.run("limiter_concurrency", limiter.CONCURRENCY_BINDS),
        "guard": guard.run,
        "retention": lambda: retention.run(retention.Ends()),
        "peers": lambda: whole.run("peers", whole.SHORT),
        "peers_long": lambda: whole.run("peers_long", whole.LONG),
    }


def _quick() -> dict[str, Measurement]:
    return {
        "latency": lambda: latency.run([latency.Case(5, 20.0, 0.1, 0.2, image_bytes=20_000, poll_min_s=0.1)]),
        "callbacks": lambda: callbacks.run(
            latency.Case(5, 20.0, 0.5, 0.6, image_bytes=20_000, poll_min_s=0.1), rounds=1
        ),
        "memory": lambda: memory.run(memory.Load(jobs=2, images=3, image_bytes=500_000, poll_min_s=0.1)),
        "startup": lambda: startup.run(startup.Starts(stack=1, processes=0)),
        "fairness": lambda: fairness.run(
            "fairness",
            [
                replace(
                    fairness.CONCURRENCY_BINDS,
                    giant=50,
                    singles=2,
                    inference_min_s=0.3,
                    inference_max_s=0.3,
                    poll_min_s=0.1,
                )
            ],
        ),
        "scale": lambda: scale.run(scale.Depths(depths=(100, 200), tenants=5, calls=64, admit_at_once=16)),
        "reconcile": lambda: reconcile.run(reconcile.Losses(jobs=20, window_s=2)),
        "batches": lambda: batches.run(batches.Sizes(lines=(20, 700), rounds=1)),
        "saturation": lambda: saturation.run(
            saturation.Load(
                jobs=120,
                images_per_minute=60_000,
                max_concurrency=10,
                inference_min_s=0.3,
                inference_max_s=0.6,
                image_bytes=20_000,
                ramp_s=1.0,
                steady_s=2.0,
                poll_min_s=0.1,
            )
        ),
        "guard": guard.run,
        "retention": lambda: retention.run(retention.Ends(before=20, counted=50)),
        "peers": lambda: whole.run("peers", whole.Case(0.1, 0.2, {"": 3}), rounds=1),
        "peers_long": lambda: whole.run("peers_long", whole.Case(0.3, 0.4, {"": 3}), rounds=1),
        **{
            name: _quick_limiter(name, case)
            for name, case in (
                ("limiter_rate", limiter.RATE_BINDS),
                ("limiter_late_answers", limiter.LATE_ANSWERS),
                ("limiter_concurrency", limiter.CONCURRENCY_BINDS),
            )
        },
    }


def _killed(seed: int | None, *, quick: bool) -> dict[str, Measurement]:
    isolation, backlog = webhook_isolation.Load(), webhook_rate.Backlog()
    seed = secrets.randbelow(2**31) if seed is None else seed
    storm, errand = webhook_kills.Storm(seed), Errand(seed)
    if quick:
        isolation = replace(isolation, deliveries=20, rounds=1, inference_s=0.2, poll_min_s=0.1)
        backlog = replace(backlog, deliveries=100, receivers=2, rounds=1)
        storm = replace(storm, deliveries=60, rate=20.0, worker_kills=1, valkey_kills=1)
        errand = replace(errand, jobs=60, upload_s=0.3)
    return {
        "webhook_isolation": lambda: webhook_isolation.run(isolation),
        "webhook_rate": lambda: webhook_rate.run(backlog),
        "webhook_kills": lambda: webhook_kills.run(storm),
        "cli_batch": lambda: cli_batch.run(errand),
    }


def _quick_limiter(name: str, case: limiter.Case) -> Measurement:
    return lambda: limiter.run(name, replace(case, seconds=4.0, warm_up_s=1.0, poll_min_s=0.2))


def _range(text: str) -> tuple[float, float]:
    shortest, _, longest = text.partition(":")
    try:
        return float(shortest), float(longest or shortest)
    except ValueError:
        raise typer.BadParameter(f"--inference {text}: give MIN:MAX in seconds") from None


if __name__ == "__main__":
    typer.run(main)
