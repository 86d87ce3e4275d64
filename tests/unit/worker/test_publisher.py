"""A broker that does not take messages holds nobody up, and what it did not take is known."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from darkroom import messages
from darkroom.store.attempts import Ticket
from tests.support.waiting import wait_until_async
from worker.publisher import KEEP, Publisher


class SilentBroker(Celery):
    """Takes no message until it is told to."""

    def __init__(self) -> None:
        super().__init__("silent", set_as_current=False)
        self.answers = threading.Event()
        self.sent: list[str] = []

    def send_task(self, name: str, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Wait like a socket without an answer."""
        self.answers.wait()
        self.sent.append(name)


@pytest.fixture
def broker() -> Iterator[SilentBroker]:
    """Give a silent broker, and let its publisher's thread go at the end."""
    silent = SilentBroker()
    yield silent
    silent.answers.set()
    silent.close()


async def test_tickets_that_a_silent_broker_did_not_take_are_given_back(broker: SilentBroker) -> None:
    publisher = Publisher(broker, limit_s=0.05)
    tickets = [Ticket(f"job_{number}", 1, 1) for number in range(messages.CHUNK + 1)]
    async with asyncio.timeout(20):
        assert await publisher.submit(tickets) == tickets
    publisher.close()


async def test_calls_for_dispatch_wait_for_nothing_and_become_one(broker: SilentBroker) -> None:
    publisher = Publisher(broker)
    running = asyncio.create_task(publisher.run())
    publisher.dispatch()
    await wait_until_async(lambda: not publisher._dispatch._items)
    for _ in range(5):
        publisher.dispatch()
    broker.answers.set()
    await publisher.drained()
    assert broker.sent == [messages.DISPATCH] * 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    publisher.close()


async def test_calls_do_not_pile_up_while_the_broker_is_away(broker: SilentBroker) -> None:
    publisher = Publisher(broker)
    for number in range(2 * KEEP):
        publisher.store(Ticket(f"job_{number}", 1, 1))
    assert len(publisher._store._items) == KEEP
    publisher.close()
