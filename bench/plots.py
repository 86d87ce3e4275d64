"""Draws the load curve as SVG for the documentation: `make plots`. Runs in the peers' environment, for matplotlib."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "darkroom", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10})

from matplotlib import pyplot  # noqa: E402  the backend comes first

ROOT = Path(__file__).resolve().parents[1]
CURVE = ROOT / "bench" / "results" / "curve.json"
PICTURE = ROOT / "docs" / "load.svg"
SIZE_INCHES = (10, 4.4)
PANELS = (
    ("jobs a second", "jobs a second, to the last webhook", "Throughput"),
    ("… of the worker", "MB, worker process or pool", "Memory"),
)
DARKROOM = "darkroom"


def main(curve: Path, picture: Path) -> None:
    """Draw both panels from the result's figures."""
    if not curve.exists():
        sys.exit(f"{curve} is missing: run `python -m bench curve` before")
    result = json.loads(curve.read_text())
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=SIZE_INCHES, layout="constrained")
    for axis, (what, label, title) in zip(axes, PANELS, strict=True):
        for side, points in _sides(result["figures"], what).items():
            style: dict[str, Any] = {"linewidth": 2.6, "zorder": 3} if side == DARKROOM else {"linewidth": 1.4}
            axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=side, **style)
        axis.set(xscale="log", yscale="log", xlabel="generations in flight at once", ylabel=label, title=title)
        axis.xaxis.set_major_formatter("{x:,g}")
        for formatter in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            formatter("{x:,g}")
        axis.grid(visible=True, which="major", alpha=0.3)
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(picture, metadata={"Date": None})


def _sides(figures: list[dict[str, Any]], what: str) -> dict[str, list[tuple[int, float]]]:
    """Give each side's points: load and median."""
    sides: dict[str, list[tuple[int, float]]] = {}
    for item in figures:
        if item["what"] == what:
            side, _, load = item["case"].removesuffix(" at once").rpartition(", ")
            sides.setdefault(side, []).append((int(load.replace(",", "")), item["summary"]["median"]))
    return {side: sorted(points) for side, points in sides.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CURVE, PICTURE)
