"""Every call of a script is answered, whatever becomes of the round trip that carries it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from darkroom.store.scripts import Scripts


class Server:
    """Gives one answer after the other, each made when it is asked for."""

    def __init__(self, *answers: Callable[[], list[Any]]) -> None:
        self.answers = list(answers)

    def pipeline(self, **_: Any) -> "Server":
        """Be its own pipeline."""
        return self

    def evalsha(self, *_: Any) -> None:
        """Take a call in."""

    async def execute(self, **_: Any) -> list[Any]:
        """Answer."""
        return self.answers.pop(0)()


def cut_off() -> list[Any]:
    """Do as a timeout that fires together with its answer: cancel, and have nobody meant."""
    raise asyncio.CancelledError


async def both(scripts: Scripts) -> list[Any]:
    async with asyncio.timeout(10):
        calls = scripts.call("lease_due"), scripts.call("sign_of_life")
        return await asyncio.gather(*calls, return_exceptions=True)


async def test_calls_whose_round_trip_was_cut_off_are_told_and_the_next_ones_are_carried() -> None:
    scripts = Scripts(Server(cut_off, lambda: ["first", "second"]))  # type: ignore[arg-type]
    assert [type(error) for error in await both(scripts)] == [RedisConnectionError] * 2
    assert await both(scripts) == ["first", "second"]


async def test_a_call_without_an_answer_of_its_own_is_told_so() -> None:
    scripts = Scripts(Server(lambda: ["only one"]))  # type: ignore[arg-type]
    first, second = await both(scripts)
    assert (first, type(second)) == ("only one", RedisConnectionError)


async def test_calls_that_fail_together_get_an_error_each() -> None:
    """An error that several raise carries the frames of all, and who clears one's would end the others."""

    def refuse() -> list[Any]:
        raise RedisConnectionError("nobody there")

    first, second = await both(Scripts(Server(refuse)))  # type: ignore[arg-type]
    assert (type(first), str(first)) == (type(second), str(second)) == (RedisConnectionError, "nobody there")
    assert first is not second


async def test_a_cancellation_that_is_meant_ends_the_carrier_and_still_answers() -> None:
    asked = asyncio.Event()

    class Silent(Server):
        async def execute(self, **_: Any) -> list[Any]:
            asked.set()
            await asyncio.Event().wait()
            return []

    scripts = Scripts(Silent())  # type: ignore[arg-type]
    calling = asyncio.create_task(scripts.call("lease_due"))
    await asked.wait()
    carrier = scripts._plain._flushing
    assert carrier is not None
    carrier.cancel()
    with pytest.raises(RedisConnectionError):
        await calling
    assert carrier.cancelled()
