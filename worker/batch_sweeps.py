"""Going through the jobs of batches, slice by slice, beside the poller's own sweeps: each slice is a short script."""

import asyncio

from darkroom.store.batches import SLICES, BatchStore
from darkroom.telemetry.logs import get_logger
from worker.context import Context
from worker.mishaps import note_mishap

log = get_logger(__name__)


class BatchSweeps:
    """The sweeps that this process goes on with; one that ends early goes on when its timer goes off again."""

    def __init__(self, ctx: Context) -> None:
        self._batches: BatchStore = ctx.batches
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def start(self, batch_id: str, sweep: str) -> None:
        """Go on with a sweep, unless this process does already."""
        if (batch_id, sweep) in self._running:
            return
        task = asyncio.create_task(self._run(batch_id, sweep))
        self._running[batch_id, sweep] = task
        task.add_done_callback(lambda _: self._running.pop((batch_id, sweep), None))

    def stop(self) -> None:
        """Leave them to others."""
        for task in self._running.values():
            task.cancel()

    async def _run(self, batch_id: str, sweep: str) -> None:
        if sweep not in SLICES:
            log.error("due.unreadable", entry=f"s:{batch_id}:{sweep}")
            return
        try:
            await self._batches.sweep(batch_id, sweep)
        except Exception as error:
            note_mishap(log, "batch_sweep", error, batch_id=batch_id, sweep=sweep)
