"""Dispatch admits what may be admitted as long as the store has room."""

from types import SimpleNamespace
from typing import Any

from darkroom.line.line import Admission
from darkroom.store.attempts import Ticket
from worker.stages.dispatch import ADMIT_AT_ONCE, dispatch


class Line:
    """Has so many jobs waiting, and gives as many as are asked for."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.asked: list[int] = []

    async def clear_wake(self) -> None:
        """Take the flag down."""

    async def admit(self, lane: str, *, most: int, lease_ms: int, max_unstored: int) -> Admission:
        """Admit."""
        self.asked.append(most)
        given = min(most, self.waiting)
        self.waiting -= given
        return Admission("more" if self.waiting else "empty", [Ticket(f"job_{n}", 1, 1) for n in range(given)])


class Publisher:
    """Takes every call."""

    async def submit(self, tickets: list[Ticket]) -> list[Ticket]:
        """Leave none."""
        return []


def context(line: Line, *, full: bool = False) -> Any:
    return SimpleNamespace(
        line=line,
        room=SimpleNamespace(full=full),
        lane="default",
        settings=SimpleNamespace(upstream=SimpleNamespace(max_unstored_images=5_000)),
        publisher=Publisher(),
    )


async def test_everything_is_admitted_that_may_be() -> None:
    line = Line(2 * ADMIT_AT_ONCE + 1)
    await dispatch(context(line))
    assert line.waiting == 0
    assert line.asked == [ADMIT_AT_ONCE] * 3


async def test_a_store_that_is_nearly_full_is_asked_for_nothing() -> None:
    line = Line(10)
    await dispatch(context(line, full=True))
    assert line.asked == []
