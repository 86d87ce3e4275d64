"""The secret of upstream's signatures: read once, shared by all who wait, and again when it no longer fits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from api.callbacks import SECRET_AGAIN_S, SigningSecret
from darkroom.errors import RetryableError
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError


class Upstream:
    """Gives what it is told, and counts how often it was asked."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def webhook_secret(self) -> str:
        """Answer the next, the last one for ever."""
        self.asked += 1
        await self.may_answer.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


Make = Callable[..., tuple[SigningSecret, Upstream]]


class Clock:
    """Time that a test moves."""

    now_s = 1_000.0


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(clock: Clock) -> Make:
    def made(*answers: str | Exception) -> tuple[SigningSecret, Upstream]:
        upstream = Upstream(*answers)
        read: Callable[[], Awaitable[str]] = upstream.webhook_secret
        return SigningSecret(read, now_s=lambda: clock.now_s), upstream

    return made


async def test_it_is_read_once_however_many_need_it_at_once(make: Make) -> None:
    secret, upstream = make("s1")
    upstream.may_answer.clear()
    waiting = [asyncio.create_task(secret.get()) for _ in range(5)]
    await asyncio.sleep(0)
    upstream.may_answer.set()
    assert await asyncio.gather(*waiting) == ["s1"] * 5
    assert (await secret.get(), upstream.asked) == ("s1", 1)


async def test_one_that_does_not_fit_is_read_again_at_most_once_a_minute(make: Make, clock: Clock) -> None:
    secret, upstream = make("s1", "s2")
    await secret.get()
    clock.now_s += SECRET_AGAIN_S - 1
    assert (await secret.instead_of("s1"), upstream.asked) == ("s1", 1)
    clock.now_s += 1
    assert (await secret.instead_of("s1"), upstream.asked) == ("s2", 2)
    assert (await secret.instead_of("s1"), upstream.asked) == ("s2", 2), "another has read it anew meanwhile"
    assert (await secret.instead_of("s2"), upstream.asked) == ("s2", 2)


@pytest.mark.parametrize("failure", [UpstreamUnavailableError("away"), UnauthorizedError("no such key")])
async def test_what_can_not_be_read_is_to_be_tried_again_and_says_nothing_of_upstream(
    make: Make, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    secret, upstream = make(failure, "s1")
    with pytest.raises(RetryableError) as refused:
        await secret.get()
    assert str(failure) not in str(refused.value)
    assert (await secret.get(), upstream.asked) == ("s1", 2)


async def test_who_stops_waiting_does_not_end_the_reading_of_others(make: Make) -> None:
    secret, upstream = make("s1")
    upstream.may_answer.clear()
    impatient, patient = asyncio.create_task(secret.get()), asyncio.create_task(secret.get())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    upstream.may_answer.set()
    assert (await patient, upstream.asked) == ("s1", 1)


async def test_a_callback_waits_no_longer_than_upstream_does(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.callbacks.SECRET_PATIENCE_S", 0)
    secret, upstream = make("s1")
    upstream.may_answer.clear()
    with pytest.raises(RetryableError):
        await secret.get()
    upstream.may_answer.set()
    monkeypatch.undo()
    assert (await secret.get(), upstream.asked) == ("s1", 1), "what it had begun to read was not thrown away"
