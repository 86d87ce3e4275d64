"""What upstream's callbacks change: looks a job, and the time from upstream's completion to the webhook."""

import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from bench.figures import Figure, Outcome, figure
from bench.latency import Case, run_case, time_between

Mode = Literal["off", "on"]
MODES: tuple[Mode, ...] = ("off", "on")
CASE = Case(jobs=100, rate=5.0, inference_min_s=5.0, inference_max_s=8.0)
ROUNDS = 3


def run(case: Case, *, rounds: int) -> Outcome:
    """Run the same case without and with callbacks by turns, each time on a fleet of its own."""
    complaints: Counter[str] = Counter()
    raw: list[dict[str, Any]] = []
    cpu_s: dict[Mode, dict[str, float]] = {mode: {} for mode in MODES}
    for number in range(1, rounds + 1):
        for mode in MODES:
            with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
                rows, used = run_case(case, Path(scratch), complaints, callbacks=mode == "on")
            cpu_s[mode] = {name: cpu_s[mode].get(name, 0.0) + spent for name, spent in used.items()}
            raw += [{"callbacks": mode, "round": number, **row} for row in rows]
    figures = [
        found
        for mode in MODES
        for found in _figures(mode, [row for row in raw if row["callbacks"] == mode], cpu_s[mode])
    ]
    return Outcome("callbacks", {"case": asdict(case), "rounds": rounds}, figures, raw, complaints)


def _figures(mode: Mode, rows: list[dict[str, Any]], cpu_s: dict[str, float]) -> list[Figure]:
    case = f"callbacks {mode}"
    return [
        figure(case, "looks a job", "", *(row["looks"] for row in rows)),
        time_between(case, rows, "upstream completed → webhook received", "completed_at", "webhook_at"),
        time_between(case, rows, "… completed → seen by a look", "completed_at", "handed_over_at"),
        *(
            figure(case, f"CPU of the {name} a job", "ms", round(used * 1000 / len(rows), 2))
            for name, used in cpu_s.items()
        ),
    ]
