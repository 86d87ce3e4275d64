"""What a measurement yields: figures with every value behind them, and the raw records they were taken from."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity in one case. One value is a plain number, several are a distribution."""

    case: str
    what: str
    unit: str
    values: tuple[float, ...]

    def summary(self) -> dict[str, float | int]:
        """Give count, median, p90, p99 and extremes.

        Percentiles are nearest-rank: each is a value that was really measured.
        """
        ordered = sorted(self.values)
        return {
            "count": len(ordered),
            "min": ordered[0],
            "median": percentile(ordered, 50),
            "p90": percentile(ordered, 90),
            "p99": percentile(ordered, 99),
            "max": ordered[-1],
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of one measurement: what was asked for, what was found, and each single record."""

    name: str
    parameters: dict[str, Any]
    figures: list[Figure]
    raw: list[dict[str, Any]] = field(default_factory=list)
    complaints: dict[str, int] = field(default_factory=dict)
    """What the service warned of meanwhile, and how often."""
    page: str | None = None
    """A Markdown page of its own, where a table of figures does not say it."""


class BenchError(RuntimeError):
    """The measurement does not hold: a job was lost, doubled or not completed, or a process did not come up."""


def percentile(ordered: list[float], share: int) -> float:
    """Give the nearest-rank percentile of sorted values."""
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def figure(case: str, what: str, unit: str, *values: float) -> Figure:
    """Make a figure; raises `BenchError` for none, since a figure of nothing would pass for a good one."""
    if not values:
        raise BenchError(f"{case}: nothing was measured for {what}")
    return Figure(case, what, unit, values)
