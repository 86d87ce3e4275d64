"""Ties the reactor and the poller to the life of a Celery worker.

Start: connections, lane, poller, then consuming. Leaving (SIGTERM): consuming stops, leasing stops, what is admitted
goes back to its place by its lease, open POSTs and running copies are finished, then the reactor stops. A second
signal ends at once, and whatever hangs, the process is gone within the 75 s that a container is given.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutting_down
from redis.exceptions import RedisError

from darkroom.background import run_for_good
from darkroom.errors import ConfigurationError
from darkroom.heap import settle_heap
from darkroom.store import keys
from darkroom.store.connection import UNAVAILABLE
from darkroom.store.durability import judge_store, unreachable
from darkroom.telemetry.logs import get_logger
from worker.context import Context, open_context
from worker.poller import Poller
from worker.reactor import Reactor
from worker.start_refusal import refuse

DRAIN_S = 70.0
"""How long open POSTs and copies may take to end, from the signal on: as long as a POST by default can take."""

FLUSH_S = 5.0
CLOSE_S = 1.5
END_S = 74.0
SIGN_OF_LIFE_S = 3.0
FORGET_AFTER_S = 3600.0
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
        self._serves: list[str] = []

    def start(self, worker: Any) -> None:
        """Open everything; the worker does not start without it."""
        pool = type(worker.pool).__module__
        if not pool.endswith("thread"):
            refuse("worker_pool: must be threads; start with `--pool threads`")
            raise SystemExit(2)
        sys.setswitchinterval(0.0005)
        try:
            self._serves = sorted(worker.app.amqp.queues.consume_from)
            judge_store(worker.app.settings.redis.redis_url)
            self._reactor.start()
            self._reactor.call(self._open(worker), timeout_s=START_TIMEOUT_S)
        except ConfigurationError as error:
            refuse(*error.problems)
            raise SystemExit(2) from None
        except UNAVAILABLE as error:
            refuse(unreachable(worker.app.settings.redis.redis_url, error))
            raise SystemExit(2) from None
        runtime = worker.app.runtime
        runtime.background = threading.BoundedSemaphore(max(1, worker.concurrency // 2))
        runtime.context, runtime.reactor = self._context, self._reactor
        worker_shutting_down.connect(_end_in_time, weak=False)
        settle_heap()

    def stop(self, worker: Any) -> None:
        """Leave without losing anything."""
        if self._context is not None:
            cut_off = self._reactor.call(self._leave(), timeout_s=END_S)
            log.info("worker.left", cut_off=cut_off)
        self._reactor.stop()

    def terminate(self, worker: Any) -> None:
        """Leave at once; the leases run out by themselves."""

    async def _open(self, worker: Any) -> None:
        self._context = await open_context(worker.app.settings, worker.app)
        self._poller = Poller(self._context)
        self._context.wake_poller = self._poller.wake
        self._background = asyncio.create_task(self._run(self._context, self._poller))

    async def _run(self, context: Context, poller: Poller) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(poller.run())
                group.create_task(context.publisher.run())
                group.create_task(run_for_good("leases", context.leases.run))
                group.create_task(run_for_good("room", context.room.run))
                group.create_task(run_for_good("signs of life", lambda: self._signs_of_life(context, poller)))
        except Exception:
            log.critical("reactor.died", exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)

    async def _leave(self) -> int:
        context, poller, background = self._context, self._poller, self._background
        if context is None or poller is None or background is None:
            return 0
        started = asyncio.get_running_loop().time()
        await _at_most(2 * FLUSH_S, poller.stop(), "poller")
        context.waiting_stores.clear()  # none of these begins any more: the due set gives them to others
        spent_s = asyncio.get_running_loop().time() - started
        cut_off = await self._reactor.drain(DRAIN_S - spent_s)
        if not cut_off:
            await _at_most(FLUSH_S, context.publisher.drained(), "publisher")
        background.cancel()
        await asyncio.wait([background], timeout=CLOSE_S)
        await _at_most(CLOSE_S, self._sign_off(context), "sign-off")
        await _at_most(CLOSE_S, context.close(), "connections")
        return cut_off

    async def _sign_off(self, context: Context) -> None:
        try:
            await context.redis.hdel(keys.WORKERS, self._worker.hostname)
        except RedisError as error:
            log.warning("worker.not_signed_off", error=str(error))

    async def _signs_of_life(self, context: Context, poller: Poller) -> None:
        while True:
            try:
                if poller.stuck:
                    log.critical("poller.stuck")
                else:
                    await context.lanes.sign_of_life(
                        self._worker.hostname, self._sign(context), forget_after_s=FORGET_AFTER_S
                    )
            except RedisError as error:
                log.warning("worker.no_sign_of_life", error=str(error))
            await asyncio.sleep(SIGN_OF_LIFE_S)

    def _sign(self, context: Context) -> dict[str, Any]:
        return {
            "alive_at_ms": context.clock.now_ms(),
            "queues": sorted(self._worker.app.amqp.queues.consume_from),
            "serves": self._serves,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "in_hand": self._reactor.running,
        }


async def _at_most(limit_s: float, work: Awaitable[None], what: str) -> None:
    try:
        await asyncio.wait_for(work, limit_s)
    except TimeoutError:
        log.warning("worker.did_not_wait", what=what)


def _end_in_time(**_: Any) -> None:
    """At the first signal: let a second one, or the end of the time there is, end the process at once."""

    def end(signum: int, frame: object) -> None:
        os._exit(128 + signum)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    watchdog = threading.Timer(END_S, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()
