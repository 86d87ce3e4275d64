"""Past its last moment a submit is not written, however far it had come: its lease may be another's."""

import time

import pytest

from darkroom.upstream import session
from darkroom.upstream.outcomes import NeverLeft, Submission
from tests.contract.upstream.raw_server import ID, Connect, Exchange, Serve

JOB = Submission("a fox", "2048*2048", 1)


async def created(exchange: Exchange) -> None:
    await exchange.answer(200, {"code": 200, "data": {"id": ID, "status": "created"}})


class Freezing:
    """A clock that jumps when the request is about to be written, as for a process that was stopped there."""

    def __init__(self) -> None:
        self.now_s, self.frozen_s = 1_000.0, 0.0

    def steady_s(self) -> float:
        """Give the time."""
        return self.now_s

    def reach(self, *_: object) -> None:
        """Be stopped at the point."""
        self.now_s += self.frozen_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Freezing:
    """Put the clock in the session's place."""
    freezing = Freezing()
    monkeypatch.setattr(session, "steady_s", freezing.steady_s)
    monkeypatch.setattr(session, "reach", freezing.reach)
    return freezing


@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
async def test_submit_frozen_past_its_moment_after_connecting_sends_nothing(
    serve: Serve, connect: Connect, clock: Freezing, kept: bool
) -> None:
    server = await serve(created)
    client = await connect(server.url)
    if kept:
        await client.submit(JOB)
    clock.frozen_s = 60.0
    outcome = await client.submit(JOB, until_s=clock.now_s + 15)
    assert outcome == NeverLeft("this process was held up before it could send", held_up=True)
    clock.frozen_s = 0.0
    await client.submit(JOB, until_s=clock.now_s + 15)
    assert len(server.exchanges) == (2 if kept else 1)  # arrives after what had been written before it


async def test_submit_within_its_moment_is_sent(serve: Serve, connect: Connect, clock: Freezing) -> None:
    server = await serve(created)
    clock.frozen_s = 14.0
    await (await connect(server.url)).submit(JOB, until_s=clock.now_s + 15)
    assert len(server.exchanges) == 1


async def test_the_moment_of_one_submit_is_not_anothers(serve: Serve, connect: Connect, clock: Freezing) -> None:
    server = await serve(created)
    client = await connect(server.url)
    assert isinstance(await client.submit(JOB, until_s=clock.now_s - 1), NeverLeft)
    await client.submit(JOB)
    assert len(server.exchanges) == 1


def test_time_in_which_the_machine_was_suspended_counts() -> None:
    assert not hasattr(time, "CLOCK_BOOTTIME") or session._CLOCK == time.CLOCK_BOOTTIME
