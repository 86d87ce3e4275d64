"""Accepting a batch: its jobs are staged out of sight as they come, and all of them accepted at once or none."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from api.batch_lines import LineReader, cut_lines
from api.batch_options import BatchOptions, too_few
from api.problems import Problem, invalid
from api.services import Services
from api.webhook_urls import require_allowed
from darkroom.checkpoints import Checkpoint, reach
from darkroom.store.jobs import ConflictError
from darkroom.store.uploads import SILENCE_MS, BatchGoneError, Line
from darkroom.telemetry.logs import get_logger

STAGE_JOBS, STAGE_BYTES = 200, 2**19
"""What is staged at once: it keeps Redis for some milliseconds."""

IN_PROGRESS_RETRY_S = 5

STALLED_S = 60.0
"""Without a byte for so long an upload is given up: a client whose network went away never says so."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A batch that is durable now."""

    batch_id: str
    replayed: bool


async def accept_batch(
    services: Services, tenant: str, body: AsyncIterator[bytes], options: BatchOptions, *, key: str | None
) -> Accepted:
    """Accept an upload; it survives every crash from the return on.

    Raises:
        Problem: a bad line, an empty batch, a key that is in use; nothing is accepted then.
        LineFullError, BudgetError, StoreFullError: as for a single job; nothing is accepted.
    """
    require_allowed(services, options.webhook, ("webhook",))
    services.require_room()
    begun = await services.uploads.begin(
        tenant,
        webhook=options.webhook,
        metadata=options.metadata,
        idempotency_key=key,
        max_queued=services.settings.service.max_queued_per_tenant,
    )
    digest = hashlib.sha256(options.text().encode())
    if begun.kind == "in_progress":
        detail = "the first upload under this Idempotency-Key is still under way; repeat yours when it has ended"
        raise Problem("idempotency_in_progress", detail, headers={"Retry-After": str(IN_PROGRESS_RETRY_S)})
    if begun.kind == "replayed":
        async for _ in _hashed(body, digest):
            continue
        if digest.hexdigest() != begun.fingerprint:
            raise ConflictError("idempotency_mismatch", "this Idempotency-Key was used with another body")
        return Accepted(begun.batch_id, replayed=True)
    reach(Checkpoint.BATCH_BEGUN, begun.batch_id)
    upload = _Upload(services, begun.batch_id, options)
    async with _dropped_unless_linked(services, begun.batch_id):
        await upload.stage_all(_hashed(body, digest))
        await upload.link(digest.hexdigest())
    return Accepted(begun.batch_id, replayed=False)


async def _hashed(body: AsyncIterator[bytes], digest: Any) -> AsyncIterator[bytes]:
    while (chunk := await _next(body)) is not None:
        digest.update(chunk)
        yield chunk
        await asyncio.sleep(0)  # a body that is all there already must not keep others waiting


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    """Give the next part of a body; None at its end.

    Raises:
        Problem: `upload_stalled`.
    """
    try:
        async with asyncio.timeout(STALLED_S):
            return await anext(body, None)
    except TimeoutError:
        detail = f"nothing came for {STALLED_S:.0f} s; nothing was accepted, send it again"
        raise Problem("upload_stalled", detail, headers={"Connection": "close"}) from None


@asynccontextmanager
async def _dropped_unless_linked(services: Services, batch_id: str) -> AsyncIterator[None]:
    """Say that the upload lives while the body of this runs, and drop what was staged if that fails."""
    beating = asyncio.create_task(_beat(services, batch_id))
    try:
        yield
    except BaseException:
        dropping = asyncio.create_task(services.uploads.drop(batch_id))
        dropping.add_done_callback(_tell_failure)
        await asyncio.wait({dropping})
        raise
    finally:
        beating.cancel()


def _tell_failure(dropping: "asyncio.Task[None]") -> None:
    """What could not be dropped goes by its timer."""
    if not dropping.cancelled() and dropping.exception() is not None:
        log.warning("batch.not_dropped", error=str(dropping.exception()))


async def _beat(services: Services, batch_id: str) -> None:
    while True:
        await asyncio.sleep(SILENCE_MS / 3000)
        try:
            await services.uploads.hear(batch_id)
        except BatchGoneError:
            return  # the upload's next step says so
        except RedisError as error:
            log.warning("batch.not_heard", batch_id=batch_id, error=str(error))


class _Upload:
    """One upload of this process. Parsing goes on while what was parsed before is on its way to the store."""

    def __init__(self, services: Services, batch_id: str, options: BatchOptions) -> None:
        self._services = services
        self._batch_id = batch_id
        self._options = options
        self._reader = LineReader(services, options.defaults)
        self._waiting: list[Line] = []
        self._waiting_bytes = 0
        self._staging: asyncio.Task[None] | None = None

    async def stage_all(self, body: AsyncIterator[bytes]) -> None:
        """Read every line and stage what is a job; after a bad line nothing more is staged, only read."""
        try:
            async for lines in cut_lines(body):
                for number, text in lines:
                    line = self._reader.read(number, text)
                    if line is not None:
                        await self._add(line)
                if self._reader.full and not self._skips:
                    break
            self._refuse_bad_lines()
            await self._flush()
        finally:
            await self._staged()

    async def link(self, fingerprint: str) -> None:
        """Accept all of it."""
        services, service = self._services, self._services.settings.service
        services.require_room()
        reach(Checkpoint.BATCH_BEFORE_LINK, self._batch_id)
        wake = await services.uploads.link(
            self._batch_id,
            fingerprint=fingerprint,
            max_queued=service.max_queued_per_tenant,
            refuse_over_budget=service.on_budget == "refuse",
            skipped=self._skipped(),
        )
        reach(Checkpoint.BATCH_LINKED, self._batch_id)
        if wake:
            services.waker.wake()

    @property
    def _skips(self) -> bool:
        return self._options.on_invalid == "skip"

    @property
    def _is_refused(self) -> bool:
        return bool(self._reader.bad_lines) and not self._skips

    async def _add(self, line: Line) -> None:
        if self._is_refused:
            return
        if self._waiting and self._waiting_bytes + len(line.text) > STAGE_BYTES:
            await self._flush()
        self._waiting.append(line)
        self._waiting_bytes += len(line.text)
        if len(self._waiting) == STAGE_JOBS:
            await self._flush()

    async def _flush(self) -> None:
        await self._staged()
        lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if lines:
            self._services.require_room()
            self._staging = asyncio.create_task(self._services.uploads.stage(self._batch_id, lines))

    async def _staged(self) -> None:
        staging, self._staging = self._staging, None
        if staging is not None:
            await staging
            reach(Checkpoint.BATCH_STAGED, self._batch_id)

    def _refuse_bad_lines(self) -> None:
        if self._is_refused:
            raise invalid(self._reader.errors)
        if not self._reader.jobs:
            raise too_few(self._reader.errors)

    def _skipped(self) -> dict[str, Any] | None:
        if not self._skips:
            return None
        errors = [{"loc": list(error.loc), "msg": error.msg} for error in self._reader.errors]
        return {"lines": self._reader.bad_lines, "errors": errors}
