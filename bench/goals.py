"""The goals, held against the latest results: what was to be reached, what was measured, what peers do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

PAGE = "goals.md"
DARKROOM = "darkroom"


class NotMeasuredError(LookupError):
    """There is no such figure among the results."""


class Results:
    """The figures of a folder's results."""

    def __init__(self, folder: Path) -> None:
        self._found: dict[str, list[dict[str, Any]]] = {
            path.stem: orjson.loads(path.read_bytes())["figures"] for path in sorted(folder.glob("*.json"))
        }

    def all(self, result: str, what: str, case: str = "", stat: str = "median") -> dict[str, float]:
        """Give a statistic of each figure of that name, else of those whose name begins so, whose case holds the text.

        Raises:
            NotMeasuredError: there is none.
        """
        mine = [item for item in self._found.get(result, []) if case in item["case"]]
        named = [item for item in mine if item["what"] == what] or [i for i in mine if i["what"].startswith(what)]
        found = {item["case"]: float(item["summary"][stat]) for item in named}
        if not found:
            raise NotMeasuredError(f"{result}: {what}")
        return found

    def one(self, result: str, what: str, case: str = "", stat: str = "median") -> float:
        """Give that of the first such figure; raises as `all`."""
        return next(iter(self.all(result, what, case, stat).values()))

    def peers(self, result: str, what: str) -> dict[str, float]:
        """Give the medians of a figure by side, Darkroom's left out; raises as `all`."""
        found = {case.partition(", inference")[0]: value for case, value in self.all(result, what).items()}
        return {side: value for side, value in found.items() if side != DARKROOM}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to reach. `beside` is what peers do, where any does the same."""

    goal: str
    measured: str
    reached: bool
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """One row: its lines are read from the results when the table is written."""

    name: str
    source: str
    read: Callable[[Results], list[Line]]


def write_goals(folder: Path, goals: tuple[Goal, ...]) -> Path:
    """Write the table from the results in the folder."""
    results = Results(folder)
    lines = [
        "# The goals, and what is measured",
        "",
        "Written by `python -m bench` from the results beside it; how each is taken: [METHOD.md](../METHOD.md), what",
        "is wrong with it: [IMPERFECTIONS.md](../IMPERFECTIONS.md). Machine, versions, revision: in each result.",
        "",
        "| what | goal | measured | reached | beside it | from |",
        "|---|---|---|---|---|---|",
    ]
    for goal in goals:
        try:
            rows = goal.read(results)
        except NotMeasuredError as missing:
            rows = [Line("", f"not measured ({missing})", False)]
        for number, row in enumerate(rows):
            name = goal.name if number == 0 else ""
            verdict = "yes" if row.reached else "**no**"
            lines.append(f"| {name} | {row.goal} | {row.measured} | {verdict} | {row.beside} | {goal.source} |")
    path = folder / PAGE
    path.write_text("\n".join([*lines, ""]))
    return path


def at_least(value: float, least: float, unit: str = "", beside: str = "") -> Line:
    """Make the line of something that is to be large."""
    return Line(f"≥ {show(least)}{unit}", f"{show(value)}{unit}", value >= least, beside)


def at_most(value: float, most: float, unit: str = "", beside: str = "") -> Line:
    """Make the line of something that is to be small."""
    return Line(f"≤ {show(most)}{unit}", f"{show(value)}{unit}", value <= most, beside)


def times(value: float, least: float, what: str, beside: str = "") -> Line:
    """Make the line of a ratio."""
    return Line(f"≥ {show(least)} × {what}", f"{show(value)} ×", value >= least, beside)


def show(value: float) -> str:
    """Write a number with three figures."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def listed(values: dict[str, float], unit: str = "") -> str:
    """Write what each peer does."""
    return ", ".join(f"{name.replace('|', 'to')} {show(value)}{unit}" for name, value in values.items())
