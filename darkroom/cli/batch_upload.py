"""Gives the batch that a file's content has become, posting it first where it is none yet: never twice unasked."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from darkroom.cli import batch_state
from darkroom.cli.batch_lines import Prepared
from darkroom.cli.batch_state import Memory, Sent
from darkroom.cli.http import refused
from darkroom.cli.show import plural, usd
from darkroom.cli.summary import passed_over

if TYPE_CHECKING:
    from darkroom.batches import Batch
    from darkroom.client import AsyncClient

GONE = "idempotency_result_gone"
_NO_BATCH = (400, 413, 415, 422, 429)
"""HTTP statuses by which the service says that this upload is no batch, and that no earlier one under its key was."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What is sent, and under which key."""

    name: str
    prepared: Prepared
    options: dict[str, Any]
    key: str
    memory: Memory


async def found_or_posted(client: "AsyncClient", url: str, upload: Upload, *, again: bool) -> "Batch":
    """Find the batch in the memory, or post it; with `again` post it as a batch of its own.

    Raises:
        typer.Exit: it may be a batch that can't be found; a line has said so.
        DarkroomError: the service says no or nothing.
    """
    before = upload.memory.find(url, upload.key)
    if before is not None and not again:
        if before.batch_id is not None:
            return await _known(client, upload, before.batch_id, before.sent_at)
        if before.is_open_and_old:
            raise refused(
                f"{upload.name} was sent at {before.sent_at} and no answer came: it may have become a batch, see"
                " `darkroom batches list`; --again posts it anew, which costs again"
            )
        sent = before
    else:
        sent = (batch_state.another_upload if again else batch_state.first_upload)(url, upload.key)
    return await _posted(client, upload, sent, before=before)


async def _known(client: "AsyncClient", upload: Upload, batch_id: str, sent_at: str) -> "Batch":
    from darkroom.client import NotFound

    try:
        found = await client.batch(batch_id)
    except NotFound:
        raise refused(
            f"{upload.name} was posted as {batch_id} ({sent_at}), which the service does not know (any more, or not by"
            " this key); --again posts it anew, which costs again"
        ) from None
    _note(f"{upload.name} is {found.id} already: going on with it")
    return found


async def _posted(client: "AsyncClient", upload: Upload, sent: Sent, *, before: Sent | None) -> "Batch":
    from darkroom.client import ApiError

    memory, key = upload.memory, upload.key
    memory.keep(sent.url, key, sent)
    try:
        batch = await client.submit_batch(upload.prepared, **upload.options, idempotency_key=sent.idempotency_key)
    except ApiError as error:
        if error.code == GONE:
            raise refused(
                f"{upload.name} was a batch whose time is over; --again posts it anew, which costs again"
            ) from None
        if error.status in _NO_BATCH and not error.code.startswith(("http_", "idempotency_")):
            memory.keep(sent.url, key, None if before == sent else before)
        raise
    memory.keep(sent.url, key, batch_state.accepted(sent, batch.id))
    _note(f"{upload.name} is {batch.id}: {plural(batch.total, 'job')}, {usd(batch.cost.estimated)} estimated")
    if batch.skipped:
        for line in passed_over(batch.skipped.model_dump(mode="json")):
            _note(line)
    return batch


def _note(text: str) -> None:
    typer.echo(text, err=True)
