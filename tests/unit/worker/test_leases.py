"""Renewing leases goes on whatever Redis answers, and stops only those whose lease was lost."""

import asyncio
from contextlib import suppress

import pytest
from redis.exceptions import ReadOnlyError

import worker.leases
from darkroom.errors import StaleLeaseError
from worker.leases import Leases


class Timers:
    """Answers renewals as told."""

    def __init__(self, *answers: Exception | list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, int]] = []
        self.answered = asyncio.Event()

    async def renew(self, held: dict[str, int], *, lease_ms: int) -> list[str]:
        """Give the next answer, then lose nothing any more."""
        self.asked.append(dict(held))
        answer = self.answers.pop(0) if self.answers else []
        if not self.answers:
            self.answered.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew without pauses."""
    monkeypatch.setattr(worker.leases, "RENEW_EVERY_S", 0.001)


async def run(leases: Leases, until: asyncio.Event) -> None:
    running = asyncio.create_task(leases.run())
    await until.wait()
    await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_redis_that_refuses_writes_does_not_end_the_renewing() -> None:
    timers = Timers(ReadOnlyError("a replica"), [])
    leases = Leases(timers)  # type: ignore[arg-type]
    async with leases.hold("j:job:1", 3):
        await run(leases, timers.answered)
    assert timers.asked == [{"j:job:1": 3}] * 2


async def test_work_under_a_lost_lease_is_stopped_and_told_so() -> None:
    timers = Timers(["j:job:1"])
    leases = Leases(timers)  # type: ignore[arg-type]
    renewing = asyncio.create_task(leases.run())
    with pytest.raises(StaleLeaseError):
        async with leases.hold("j:job:1", 3):
            await asyncio.Event().wait()
    renewing.cancel()
    with suppress(asyncio.CancelledError):
        await renewing
