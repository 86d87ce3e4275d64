"""A sweep is one worker's for as long as it goes on, and nobody's twice."""

import asyncio
from typing import Any

import pytest

from tests.support.waiting import wait_until_async
from worker.stages.reconcile import hold
from worker.stages.reconcile.hold import SweepLostError, hold_sweep


class Claims:
    """Grants claims until it is told not to, and remembers them."""

    def __init__(self, *, grants: bool = True) -> None:
        self.grants = grants
        self.claimed: list[str] = []
        self.ended: list[str] = []

    async def claim_sweep(self, _: str, mark: str, **__: Any) -> bool:
        """Answer as told."""
        self.claimed.append(mark)
        return self.grants

    async def end_sweep(self, _: str, mark: str, **__: Any) -> None:
        """Note it."""
        self.ended.append(mark)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "RENEW_EVERY_S", 0.001)


async def test_it_is_renewed_while_upstream_takes_its_time() -> None:
    claims: Any = Claims()
    async with hold_sweep(claims, "default") as held:
        assert held
        await wait_until_async(lambda: len(claims.claimed) > 3)
    assert len(set(claims.claimed)) == 1
    assert claims.ended == claims.claimed[:1]


async def test_whoever_loses_it_stops() -> None:
    claims: Any = Claims()

    async def sweep() -> None:
        async with hold_sweep(claims, "default"):
            claims.grants = False
            await asyncio.Event().wait()

    with pytest.raises(SweepLostError):
        await sweep()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_somebody_elses_is_left_alone() -> None:
    claims: Any = Claims(grants=False)
    async with hold_sweep(claims, "default") as held:
        assert not held
    assert claims.ended == []
