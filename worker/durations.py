"""How long generations take lately, learned from what upstream itself says of those that completed.

A worker that starts begins with what the store has kept of what others saw.
"""

from collections import deque
from dataclasses import dataclass

KEPT = 200
ENOUGH = 10
"""Fewer completed generations tell too little."""

SOONEST, LATEST = 0.05, 0.95


@dataclass(frozen=True, slots=True)
class Usual:
    """Between which two durations in ms nine generations of ten end."""

    soonest_ms: int
    latest_ms: int


class Durations:
    """The latest durations that one worker process has seen."""

    def __init__(self) -> None:
        self._kept: deque[int] = deque(maxlen=KEPT)
        self._usual: Usual | None = None
        self._is_known = True

    def note(self, inference_ms: int | None) -> None:
        """Take one as upstream says it (`timings.inference`); nothing where it says nothing.

        When a look has seen the completion tells less: looks come when completions are expected, so what ended sooner
        would never be noticed.
        """
        if inference_ms:
            self._kept.append(inference_ms)
            self._is_known = False

    def usual(self) -> Usual | None:
        """Give what is usual now; None while too few are known."""
        if not self._is_known:
            self._usual, self._is_known = self._judged(), True
        return self._usual

    def _judged(self) -> Usual | None:
        if len(self._kept) < ENOUGH:
            return None
        ordered = sorted(self._kept)
        return Usual(*(ordered[int(share * (len(ordered) - 1))] for share in (SOONEST, LATEST)))
