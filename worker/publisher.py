"""Publishes Celery messages from the reactor: kombu blocks, so a thread of its own does it, in chunks.

Nobody waits for a broker without bound: a message that can't be published in time is made good by the due set.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery

from darkroom import messages
from darkroom.background import run_for_good
from darkroom.store.attempts import Ticket
from darkroom.store.records import SCHEMA_VERSION
from darkroom.telemetry.logs import get_logger
from darkroom.timers import DueDelivery
from worker.batching import Batcher

LIMIT_S = 10.0
"""How long a message may take to be published; past it nobody waits, and one not yet begun is dropped."""

DISPATCH_PAUSE_S = 0.1
"""Between two calls of one process for the line to be looked at: each hand-over makes one, 31 a second at 83 jobs."""

PAUSE_S = 0.05
"""After a message that is not full: under load each names several jobs, since one costs as much as a job's look."""

KEEP = 1_000
"""Most calls of one kind that wait; while the broker is away they would pile up and flood it afterwards."""

log = get_logger(__name__)


class Publisher:
    """Sends wake-up calls."""

    def __init__(self, app: Celery, *, limit_s: float = LIMIT_S) -> None:
        self._app = app
        self._limit_s = limit_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._dispatch = Batcher[None](
            "dispatch", self._publish_dispatch, most=KEEP, keep=KEEP, pause_s=DISPATCH_PAUSE_S
        )
        self._store = Batcher[Ticket]("store", self._publish_store, most=messages.CHUNK, keep=KEEP, pause_s=PAUSE_S)
        self._notify = Batcher[DueDelivery](
            "notify", self._publish_notify, most=messages.CHUNK, keep=KEEP, pause_s=PAUSE_S
        )
        self._manifest = Batcher[str]("manifest", self._publish_manifest, most=messages.CHUNK, keep=KEEP)
        self._batchers = (self._dispatch, self._store, self._notify, self._manifest)

    @property
    def room(self) -> int:
        """How many calls for stored outputs or deliveries, all of one kind, it takes before it drops one."""
        return min(self._store.room, self._notify.room)

    def dispatch(self) -> None:
        """Call for the line to be looked at; calls made while one is being published become one."""
        self._dispatch.add(None)

    def store(self, ticket: Ticket) -> None:
        """Call for an attempt's outputs to be stored."""
        self._store.add(ticket)

    def notify(self, delivery: DueDelivery) -> None:
        """Call for one attempt at a delivery."""
        self._notify.add(delivery)

    def manifest(self, batch_id: str) -> None:
        """Call for the end of a batch to be written down."""
        self._manifest.add(batch_id)

    async def submit(self, tickets: list[Ticket]) -> list[Ticket]:
        """Call for these admitted jobs to be sent; gives those that the broker did not take in time."""
        for start in range(0, len(tickets), messages.CHUNK):
            chunk = tickets[start : start + messages.CHUNK]
            if not await self._send(messages.SUBMIT, messages.pack_tickets(chunk)):
                return tickets[start:]
        return []

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as group:
            for batcher in self._batchers:
                group.create_task(run_for_good(batcher.name, batcher.run))

    async def drained(self) -> None:
        """Wait until everything that was called for has been published or given up."""
        for batcher in self._batchers:
            await batcher.drained()

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _publish_dispatch(self, _: list[None]) -> None:
        await self._send(messages.DISPATCH, [SCHEMA_VERSION])

    async def _publish_store(self, tickets: list[Ticket]) -> None:
        await self._send(messages.STORE, messages.pack_tickets(tickets))

    async def _publish_notify(self, deliveries: list[DueDelivery]) -> None:
        await self._send(messages.NOTIFY, messages.pack_deliveries(deliveries))

    async def _publish_manifest(self, batches: list[str]) -> None:
        await self._send(messages.MANIFEST, [SCHEMA_VERSION, batches])

    async def _send(self, task: str, args: list[Any]) -> bool:
        def publish() -> None:
            self._app.send_task(task, args=args, queue=messages.QUEUES[task], ignore_result=True, retry=False)

        try:
            publishing = asyncio.get_running_loop().run_in_executor(self._thread, publish)
            await asyncio.wait_for(publishing, self._limit_s)
        except Exception as error:  # kombu raises each transport's own; the due set makes up for all of them
            log.warning("publish.failed", task=task, error=type(error).__name__)
            return False
        return True
