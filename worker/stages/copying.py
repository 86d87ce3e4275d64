"""Copying: bring an attempt's outputs into the bucket, and say of each that could not be brought why not."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from darkroom.checkpoints import Checkpoint, reach
from darkroom.errors import PermanentError, RetryableError, StaleLeaseError
from darkroom.ids import id_time_ms
from darkroom.storage.copy import StoredObject, copy_file, copy_url
from darkroom.storage.errors import (
    OutputInvalidError,
    OutputMissingError,
    SourceUnavailableError,
    StorageUnavailableError,
)
from darkroom.storage.naming import output_key
from darkroom.store.attempts import Moved, StoreClaim
from darkroom.upstream.errors import SpoolError
from darkroom.upstream.outcomes import LookOutcome, Unauthorized, Unavailable
from worker.context import Context
from worker.stages.lane import pause_for_key

TRIES_AT_ONCE = 3
"""A hiccup on either side is tried again at once; what lasts longer goes back to the due set."""

COPY_LONGEST_S = 900.0
"""A source that drips for longer gives its place to others."""

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 300.0
KEY_DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """One output as upstream named it."""

    index: int
    url: str | None
    base64: bool
    nsfw: bool | None

    @classmethod
    def read(cls, text: str) -> list["Source"]:
        """Read what the look wrote down."""
        return [cls(item["index"], item["url"], item["base64"], item["nsfw"]) for item in orjson.loads(text)]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an output is not stored (`missing`: at the source; `bucket`: there), and when to try again."""

    index: int
    message: str
    missing: bool
    delay_s: float
    bucket: bool = False


async def copy_missing(ctx: Context, claim: StoreClaim) -> list[Trouble]:
    """Copy the outputs that are not in the bucket yet; each that gets there is kept at once."""
    sources = Source.read(claim.record.attempt["sources"])
    if not sources and not any(name.startswith("out:") for name in claim.record.attempt):
        return [Trouble(0, "upstream completed it and names no output", True, FIRST_DELAY_S)]
    missing = [source for source in sources if f"out:{source.index}" not in claim.record.attempt]
    encoded = [source for source in missing if source.base64]
    if not encoded:
        return await _all(_copy(ctx, claim, source, None) for source in missing)
    async with _folder() as folder:
        try:
            outcome, files = await ctx.upstream.read_result(claim.record.attempt["prediction_id"], spool_dir=folder)
        except SpoolError as error:
            return [Trouble(source.index, str(error), False, error.delay_s) for source in missing]
        if (delay_s := await not_now(ctx, outcome)) is not None:
            return [Trouble(source.index, "upstream can't be asked for it", False, delay_s) for source in missing]
        return await _all(_copy(ctx, claim, source, files.get(source.index)) for source in missing)


async def not_now(ctx: Context, outcome: LookOutcome) -> float | None:
    """Give after how many seconds upstream may be asked again, where its answer says nothing about the outputs."""
    match outcome:
        case Unavailable(_, retry_after_s):
            return retry_after_s or FIRST_DELAY_S
        case Unauthorized():
            await pause_for_key(ctx)
            return KEY_DELAY_S
    return None


async def _all(copies: Iterable[Coroutine[Any, Any, Trouble | None]]) -> list[Trouble]:
    """Run copies side by side; when one can't go on at all, none is left running behind."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(copy) for copy in copies]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [trouble for task in tasks if (trouble := task.result()) is not None]


async def _copy(ctx: Context, claim: StoreClaim, source: Source, file: Path | None) -> Trouble | None:
    if file is None and (source.url is None or source.base64):
        return Trouble(source.index, "upstream names no image for it", True, FIRST_DELAY_S)
    try:
        stored = await _try_copy(ctx, claim, source, file)
    except (OutputMissingError, OutputInvalidError) as error:
        return Trouble(source.index, str(error), True, error.delay_s)
    except RetryableError as error:
        return Trouble(source.index, str(error), False, error.delay_s, isinstance(error, StorageUnavailableError))
    except PermanentError as error:
        return Trouble(source.index, str(error), True, LONGEST_DELAY_S)
    except TimeoutError:
        return Trouble(source.index, f"copying it took more than {COPY_LONGEST_S:g} s", False, KEY_DELAY_S)
    except OSError as error:
        return Trouble(source.index, f"this machine can't hold it for a moment ({error.strerror})", False, KEY_DELAY_S)
    reach(Checkpoint.STORE_UPLOADED, claim.ticket, stored.key)
    output = orjson.dumps(_output(ctx, source, stored)).decode()
    claim.record.attempt[f"out:{source.index}"] = output
    if await ctx.attempts.save_output(claim.ticket, source.index, output) is not Moved.DONE:
        raise StaleLeaseError(claim.ticket.due_member)
    return None


async def _try_copy(ctx: Context, claim: StoreClaim, source: Source, file: Path | None) -> StoredObject:
    job_id, number, prefix = claim.record.job_id, claim.ticket.attempt, ctx.settings.storage.prefix

    def key_for(extension: str) -> str:
        return output_key(prefix, id_time_ms(job_id), job_id, number, source.index, extension)

    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type((SourceUnavailableError, StorageUnavailableError)),
        wait=wait_random(0.1, 0.5),
        stop=stop_after_attempt(TRIES_AT_ONCE),
        reraise=True,
    ):
        with attempt:
            async with ctx.copies, asyncio.timeout(COPY_LONGEST_S):
                return await _transfer(ctx, source, file, key_for)
    raise AssertionError("tenacity ends by a result or an exception")


async def _transfer(ctx: Context, source: Source, file: Path | None, key_for: Callable[[str], str]) -> StoredObject:
    if file is not None:
        return await copy_file(file, bucket=ctx.bucket, key_for=key_for)
    session = await ctx.outputs.get()
    return await copy_url(source.url or "", bucket=ctx.bucket, source_session=session, key_for=key_for)


def _output(ctx: Context, source: Source, stored: StoredObject) -> dict[str, Any]:
    return {
        "index": source.index,
        "bucket": ctx.bucket.name,
        "key": stored.key,
        "content_type": stored.content_type,
        "bytes": stored.size_bytes,
        "sha256": stored.sha256,
        "width": stored.width,
        "height": stored.height,
        "nsfw": source.nsfw,
    }


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    """Make a folder for spooled outputs; large files take a moment to delete, so a thread does it."""
    folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="darkroom-")
    try:
        yield Path(folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
