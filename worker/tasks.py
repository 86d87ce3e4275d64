"""The five Celery tasks. Each starts its stage in the reactor and holds its thread for two seconds at most.

Every dispatch, submit, store, notify and manifest starts here: cancelling a queue's consumer stops that stage.
"""

import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from celery import Celery

from darkroom import messages
from worker.context import Context
from worker.reactor import HOLD_S, Reactor, ReactorStoppedError, WorkFailedError
from worker.stages.dispatch import dispatch
from worker.stages.manifest import write_manifests
from worker.stages.notify import notify_chunk
from worker.stages.store import store_chunk
from worker.stages.submit import submit_chunk

EXPECTED = (ReactorStoppedError, WorkFailedError)
"""What a task ends with when its work did not: logged where it happened, and Celery adds no traceback of its own."""


class Runtime:
    """What the tasks of this process work with, set when the worker starts.

    Store and notify together hold at most half of the threads; past that they only hand their work over.
    """

    def __init__(self) -> None:
        self.reactor: Reactor | None = None
        self.context: Context | None = None
        self.background = threading.BoundedSemaphore(1)

    def run(self, work: Callable[[Context], Coroutine[Any, Any, None]], *, background: bool = False) -> None:
        """Hand a stage's work to the reactor; nothing is lost if the worker is leaving."""
        reactor, context = self.reactor, self.context
        if reactor is None or context is None:
            raise ReactorStoppedError("this process runs no reactor: start it with `darkroom worker`")
        may_hold = not background or self.background.acquire(blocking=False)
        try:
            reactor.hand_over(lambda: work(context), hold_s=HOLD_S if may_hold else 0)
        finally:
            if background and may_hold:
                self.background.release()


def register(app: Celery, runtime: Runtime) -> None:
    """Define the tasks on an app."""

    @app.task(name=messages.DISPATCH, throws=EXPECTED)
    def dispatch_task(version: int) -> None:
        messages.check_version(version)
        runtime.run(dispatch)

    @app.task(name=messages.SUBMIT, throws=EXPECTED)
    def submit_task(version: int, raw: Sequence[Sequence[str | int]]) -> None:
        messages.check_version(version)
        tickets = messages.unpack_tickets(raw)
        runtime.run(lambda ctx: submit_chunk(ctx, tickets))

    @app.task(name=messages.STORE, throws=EXPECTED)
    def store_task(version: int, raw: Sequence[Sequence[str | int]]) -> None:
        messages.check_version(version)
        tickets = messages.unpack_tickets(raw)
        runtime.run(lambda ctx: store_chunk(ctx, tickets), background=True)

    @app.task(name=messages.NOTIFY, throws=EXPECTED)
    def notify_task(version: int, raw: Sequence[Sequence[str]]) -> None:
        messages.check_version(version)
        deliveries = messages.unpack_deliveries(raw)
        runtime.run(lambda ctx: notify_chunk(ctx, deliveries), background=True)

    @app.task(name=messages.MANIFEST, throws=EXPECTED)
    def manifest_task(version: int, batches: Sequence[str]) -> None:
        messages.check_version(version)
        runtime.run(lambda ctx: write_manifests(ctx, list(batches)), background=True)
