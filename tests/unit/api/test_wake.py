"""A wake-up call is never swallowed by one under way: that one may have been consumed before it has returned."""

import threading

import pytest

from api.wake import Waker
from tests.support.waiting import wait_until_async


async def test_a_call_during_a_publish_is_answered_by_one_more_message(monkeypatch: pytest.MonkeyPatch) -> None:
    waker = Waker("redis://127.0.0.1:1/0")
    started, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def publish() -> None:
        calls.append(1)
        started.set()
        assert go_on.wait(10)

    monkeypatch.setattr(waker, "_publish", publish)
    waker.wake()
    await wait_until_async(started.is_set)
    for _ in range(3):
        waker.wake()
    go_on.set()
    await wait_until_async(lambda: waker.published == 2)
    await waker.close()
    assert len(calls) == 2


async def test_a_publish_that_fails_is_counted_and_harms_nobody() -> None:
    waker = Waker("redis://127.0.0.1:1/0")
    waker.wake()
    await wait_until_async(lambda: waker.failed == 1)
    await waker.close()
