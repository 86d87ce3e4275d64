"""Publishes Celery messages from the reactor: kombu blocks, so a thread of its own does it, in chunks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery

from darkroom import messages
from darkroom.store.attempts import Ticket
from darkroom.store.records import SCHEMA_VERSION
from darkroom.timers import DueDelivery
from worker.batching import Batcher


class Publisher:
    """Sends wake-up calls. A message that can't be published is made good by the due set."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._store = Batcher[Ticket]("store", self._publish_store, most=messages.CHUNK)
        self._notify = Batcher[DueDelivery]("notify", self._publish_notify, most=messages.CHUNK)

    def store(self, ticket: Ticket) -> None:
        """Call for an attempt's outputs to be stored."""
        self._store.add(ticket)

    def notify(self, delivery: DueDelivery) -> None:
        """Call for one attempt at a delivery."""
        self._notify.add(delivery)

    async def submit(self, tickets: list[Ticket]) -> None:
        """Call for these admitted jobs to be sent."""
        for start in range(0, len(tickets), messages.CHUNK):
            await self._send(messages.SUBMIT, messages.pack_tickets(tickets[start : start + messages.CHUNK]))

    async def dispatch(self) -> None:
        """Call for the line to be looked at."""
        await self._send(messages.DISPATCH, [SCHEMA_VERSION])

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store.run())
            group.create_task(self._notify.run())

    async def close(self) -> None:
        """Publish what is left, then let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _publish_store(self, tickets: list[Ticket]) -> None:
        await self._send(messages.STORE, messages.pack_tickets(tickets))

    async def _publish_notify(self, deliveries: list[DueDelivery]) -> None:
        await self._send(messages.NOTIFY, messages.pack_deliveries(deliveries))

    async def _send(self, task: str, args: list[Any]) -> None:
        def publish() -> None:
            self._app.send_task(task, args=args, queue=messages.QUEUES[task], ignore_result=True, retry=False)

        await asyncio.get_running_loop().run_in_executor(self._thread, publish)
