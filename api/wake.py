"""Publishes the Celery message that wakes `dispatch`. A wake-up call that is lost costs a second, never a job."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import Celery

from darkroom import messages
from darkroom.store.records import SCHEMA_VERSION
from darkroom.telemetry.logs import get_logger

LIMIT_S = 1.0

log = get_logger(__name__)


class Waker:
    """One thread that publishes, for kombu blocks; calls made while it is at it are answered by one more message.

    That one more is needed: the message under way may have been consumed, and the flag cleared, before it has returned.
    """

    def __init__(self, broker_url: str) -> None:
        self._celery = _celery(broker_url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wake")
        self._under_way: asyncio.Future[None] | None = None
        self._once_more = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.published = 0
        self.failed = 0

    def wake(self) -> None:
        """Ask for one `dispatch` and return at once; a failure is counted and logged, the workers' pollers make up."""
        if self._under_way is not None and not self._under_way.done():
            self._once_more = True
            return
        self._once_more = False
        self._under_way = asyncio.get_running_loop().run_in_executor(self._thread, self._publish)
        task = asyncio.create_task(self._settle(self._under_way))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def is_idle(self) -> bool:
        """Whether everything asked for is published, or has failed."""
        return not self._tasks

    async def close(self) -> None:
        """Wait for a publish under way, for a second at most, and let the thread go."""
        await asyncio.gather(*self._tasks)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _settle(self, publish: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                await asyncio.shield(publish)
        except Exception as error:  # kombu raises each transport's own; none of them is the caller's matter
            self.failed += 1
            log.warning("wake_failed", error=type(error).__name__)
            publish.add_done_callback(_forget)
        else:
            self.published += 1
            if self._once_more:
                self.wake()

    def _publish(self) -> None:
        self._celery.send_task(
            messages.DISPATCH,
            args=[SCHEMA_VERSION],
            queue=messages.QUEUES[messages.DISPATCH],
            ignore_result=True,
            retry=False,
        )


def _forget(publish: "asyncio.Future[None]") -> None:
    if not publish.cancelled():
        publish.exception()


def _celery(broker_url: str) -> Celery:
    celery = Celery("darkroom-api", broker=broker_url, set_as_current=False)
    celery.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        broker_connection_timeout=LIMIT_S,
        broker_connection_retry=False,
        broker_connection_max_retries=0,
        broker_pool_limit=1,
        broker_transport_options=_transport_options(broker_url),
    )
    return celery


def _transport_options(broker_url: str) -> dict[str, Any]:
    once = {"max_retries": 0, "interval_start": 0.0, "interval_step": 0.0, "interval_max": 0.0}
    if broker_url.startswith("amqp"):
        return once | {"read_timeout": LIMIT_S, "write_timeout": LIMIT_S}
    return messages.broker_options(broker_url) | once | {"socket_timeout": LIMIT_S, "socket_connect_timeout": LIMIT_S}
