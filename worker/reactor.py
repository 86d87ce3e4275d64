"""The reactor: one asyncio loop in a thread of its own that does all network I/O of a worker process.

A Celery task hands its coroutine over and holds its thread for two seconds at most; what is slower goes on here under
its own lease.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from darkroom.store.connection import UNAVAILABLE
from darkroom.telemetry.logs import get_logger

HOLD_S = 2.0
CUT_OFF_S = 1.0
log = get_logger(__name__)


class ReactorStoppedError(RuntimeError):
    """The worker is leaving and takes up nothing new; the due set gives the work to another one."""


class WorkFailedError(RuntimeError):
    """A piece of work ended with an error, which is logged here; what it held goes on when its lease has run out."""


class Reactor:
    """Runs coroutines of many threads on one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="reactor", daemon=True)
        self._work: set[asyncio.Task[None]] = set()
        self._draining = False

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    @property
    def running(self) -> int:
        """How many pieces of work are under way."""
        return len(self._work)

    def call(self, coroutine: Coroutine[Any, Any, Any], *, timeout_s: float | None = None) -> Any:
        """Run a coroutine and wait for its result; from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def hand_over(self, work: Callable[[], Coroutine[Any, Any, None]], *, hold_s: float = HOLD_S) -> bool:
        """Start a piece of work and wait for it, `hold_s` at most; False: it goes on by itself.

        No error of the reactor's own leaves it: Celery clears every frame that an error of a task came through, and
        before Python 3.13 a coroutine whose frame is cleared while it waits never goes on.

        Raises:
            ReactorStoppedError: the worker is leaving, nothing was started.
            WorkFailedError: it ended with an error.
        """
        future: Future[None] = asyncio.run_coroutine_threadsafe(self._track(work), self._loop)
        try:
            error = future.exception(hold_s)
        except FutureTimeoutError:
            return False
        except FutureCancelledError:
            raise ReactorStoppedError("cut off: the worker is leaving") from None
        if isinstance(error, ReactorStoppedError):
            raise ReactorStoppedError(str(error))
        if error is not None:
            raise WorkFailedError(f"{type(error).__name__}: {error}")
        return True

    async def _track(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._draining:
            raise ReactorStoppedError("the worker is leaving")
        task = asyncio.ensure_future(work())
        self._work.add(task)
        task.add_done_callback(self._finished)
        await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, UNAVAILABLE):
            log.warning("work.store_unavailable", error=str(error))
        elif error is not None:
            log.error("work.failed", exc_info=error)

    async def drain(self, timeout_s: float) -> int:
        """Take up nothing new and wait for what runs; gives how many pieces were cut off at the end."""
        self._draining = True
        if self._work:
            _, pending = await asyncio.wait(self._work, timeout=timeout_s)
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending, timeout=CUT_OFF_S)
            return len(pending)
        return 0

    def stop(self) -> None:
        """Stop the loop and wait for its thread, if it was started."""
        if not self._thread.is_alive():
            self._loop.close()
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
