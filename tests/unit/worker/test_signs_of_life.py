"""A worker is alive for others while its poller goes on, and not a moment longer."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from worker import bootstep
from worker.bootstep import ReactorStep


class Lanes:
    """Takes signs of life."""

    def __init__(self) -> None:
        self.signs: asyncio.Queue[str] = asyncio.Queue()

    async def sign_of_life(self, name: str, sign: dict[str, Any], *, forget_after_s: float) -> None:
        """Take one."""
        self.signs.put_nowait(name)


async def test_a_worker_whose_poller_is_stuck_gives_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstep, "SIGN_OF_LIFE_S", 0)
    said: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(bootstep, "log", SimpleNamespace(critical=said.put_nowait))
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from={"dispatch": 1}))
    step = ReactorStep(SimpleNamespace(hostname="w", app=SimpleNamespace(amqp=amqp)))
    lanes, poller = Lanes(), SimpleNamespace(stuck=False)
    context: Any = SimpleNamespace(lanes=lanes, clock=SimpleNamespace(now_ms=lambda: 1))
    signs = asyncio.create_task(step._signs_of_life(context, poller))  # type: ignore[arg-type]

    assert await lanes.signs.get() == "w"
    poller.stuck = True
    for _ in range(3):
        assert await said.get() == "poller.stuck"
    given = lanes.signs.qsize()
    assert await said.get() == "poller.stuck"
    assert lanes.signs.qsize() == given
    poller.stuck = False
    while lanes.signs.qsize():
        lanes.signs.get_nowait()
    assert await lanes.signs.get() == "w"
    signs.cancel()
    await asyncio.wait([signs])
    step.stop(None)
