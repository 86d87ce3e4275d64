"""Ties the reactor and the poller to the life of a Celery worker.

Start: connections, lane, poller, then consuming. Leaving (SIGTERM): consuming stops, leasing stops, what is admitted
goes back to its place, open POSTs and running copies are finished, then the reactor stops. A second signal ends
at once.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
from typing import Any

import orjson
from celery import bootsteps
from celery.signals import worker_shutting_down

from darkroom.errors import ConfigurationError
from darkroom.store import keys
from darkroom.store.connection import UNAVAILABLE
from darkroom.telemetry.logs import get_logger
from worker.context import Context, open_context
from worker.poller import Poller
from worker.reactor import Reactor

DRAIN_S = 70.0
SIGN_OF_LIFE_S = 3.0
START_TIMEOUT_S = 30.0
log = get_logger(__name__)


class ReactorStep(bootsteps.StartStopStep):
    """Worker-level step: after the pool exists, before the consumer starts."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        self._reactor = Reactor()
        self._poller: Poller | None = None
        self._context: Context | None = None
        self._background: asyncio.Task[None] | None = None
        self._worker = worker

    def start(self, worker: Any) -> None:
        """Open everything; the worker does not start without it."""
        pool = type(worker.pool).__module__
        if not pool.endswith("thread"):
            print("worker_pool: must be threads; start with `--pool threads`", file=sys.stderr)  # noqa: T201
            raise SystemExit(2)
        sys.setswitchinterval(0.0005)
        self._reactor.start()
        try:
            self._reactor.call(self._open(worker), timeout_s=START_TIMEOUT_S)
        except ConfigurationError as error:
            print(*error.problems, sep="\n", file=sys.stderr)  # noqa: T201
            raise SystemExit(2) from None
        runtime = worker.app.runtime
        runtime.background = threading.BoundedSemaphore(max(1, worker.concurrency // 2))
        runtime.context, runtime.reactor = self._context, self._reactor
        worker_shutting_down.connect(_end_at_second_signal, weak=False)

    def stop(self, worker: Any) -> None:
        """Leave without losing anything."""
        cut_off = self._reactor.call(self._leave())
        log.info("worker.left", cut_off=cut_off)
        self._reactor.stop()

    def terminate(self, worker: Any) -> None:
        """Leave at once; the leases run out by themselves."""

    async def _open(self, worker: Any) -> None:
        self._context = await open_context(worker.app.settings, worker.app)
        self._poller = Poller(self._context)
        self._background = asyncio.create_task(self._run(self._context, self._poller))

    async def _run(self, context: Context, poller: Poller) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(poller.run())
                group.create_task(context.publisher.run())
                group.create_task(context.leases.run())
                group.create_task(self._signs_of_life(context))
        except Exception:
            log.critical("reactor.died", exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)

    async def _leave(self) -> int:
        context, poller = self._context, self._poller
        if context is None or poller is None or self._background is None:
            return 0
        await poller.stop()
        cut_off = await self._reactor.drain(DRAIN_S)
        self._background.cancel()
        await asyncio.gather(self._background, return_exceptions=True)
        try:
            await context.redis.hdel(keys.WORKERS, self._worker.hostname)
        except UNAVAILABLE as error:
            log.warning("worker.not_signed_off", error=str(error))
        await context.close()
        return cut_off

    async def _signs_of_life(self, context: Context) -> None:
        while True:
            try:
                await context.redis.hset(keys.WORKERS, self._worker.hostname, self._sign(context))
            except UNAVAILABLE as error:
                log.warning("worker.no_sign_of_life", error=str(error))
            await asyncio.sleep(SIGN_OF_LIFE_S)

    def _sign(self, context: Context) -> bytes:
        return orjson.dumps(
            {
                "alive_at_ms": context.clock.now_ms(),
                "queues": sorted(self._worker.app.amqp.queues.consume_from),
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "in_hand": self._reactor.running,
            }
        )


def _end_at_second_signal(**_: Any) -> None:
    def end(signum: int, frame: object) -> None:
        os._exit(128 + signum)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
