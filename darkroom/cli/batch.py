"""`darkroom batch FILE`: post a file's jobs as one batch, follow it, fetch its images; run again, it goes on."""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from darkroom.cli import batch_state
from darkroom.cli.batch_lines import KIND_OF_SUFFIX, BadFileError, Kind, Prepared, prepare
from darkroom.cli.batch_state import Memory, Sent
from darkroom.cli.connection import AsJson, Key, Url, one_line_errors, patient_client, service_url
from darkroom.cli.downloads import only_here
from darkroom.cli.exits import ExitCode
from darkroom.cli.http import refused
from darkroom.cli.reading import read_pairs, read_seconds
from darkroom.cli.show import batch_line, plural, usd
from darkroom.cli.submit import (
    STDIN,
    ExpiresIn,
    MaxImages,
    Metadata,
    Size,
    ThePriority,
    Webhook,
    WebhookEvent,
    webhook_fields,
)
from darkroom.cli.watch import Download, Timeout, Wanted, run, watch_batch

if TYPE_CHECKING:
    from darkroom.batches import Batch
    from darkroom.client import AsyncClient

EXAMPLES = """Examples: darkroom batch prompts.jsonl --max-images 4 --download shots

darkroom batch panels.csv --metadata order=1234 --no-wait --json"""

UNKNOWN_FROM = 500
"""HTTP statuses from here on leave open what has become of an upload."""

OnInvalid = Literal["refuse", "skip"]


@dataclass(frozen=True, slots=True)
class Upload:
    """What is sent, and under which key."""

    name: str
    prepared: Prepared
    options: dict[str, Any]
    key: str
    memory: Memory


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog=EXAMPLES)(batch)


def batch(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, CSV or a prompt a line; - is stdin.")],
    kind: Annotated[
        Kind | None, typer.Option("--format", help="How FILE is read; else by its ending, stdin as jsonl.")
    ] = None,
    max_images: MaxImages = None,
    size: Size = None,
    priority: ThePriority = None,
    expires_in: ExpiresIn = None,
    webhook: Webhook = None,
    webhook_event: WebhookEvent = None,
    metadata: Metadata = None,
    on_invalid: Annotated[
        OnInvalid, typer.Option(help="What a bad line does: refuse the batch, or be skipped.")
    ] = "refuse",
    download: Download = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Post it and end; it goes on by itself.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Post the same content as a batch of its own, which costs again.")
    ] = False,
    timeout: Timeout = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Post the jobs of a file as one batch, follow it to its end and fetch its images.

    --max-images, --size, --priority and --expires-in are for lines that don't say. Ctrl-C ends this command, not the
    batch: the same command again goes on where it was, and neither posts nor fetches anything twice. That needs the
    same FILE and options; other content or other options are another batch.
    """
    if no_wait and (download is not None or timeout is not None):
        raise refused("--no-wait: does not go with --download and --timeout", code=ExitCode.USAGE)
    defaults = {"max_images": max_images, "size": size}
    options: dict[str, Any] = {
        "webhook": webhook_fields(webhook, webhook_event),
        "metadata": read_pairs(metadata, option="--metadata"),
        "priority": priority,
        "expires_in": read_seconds(expires_in, option="--expires-in"),
        "on_invalid": on_invalid,
    }
    wanted = Wanted(download, timeout, as_json)
    with tempfile.TemporaryDirectory(prefix="darkroom-") as scratch, one_line_errors(), only_here(download):
        prepared = _prepare(file, kind, Path(scratch), {n: v for n, v in defaults.items() if v is not None}, on_invalid)
        upload = Upload(
            "stdin" if file == STDIN else file,
            prepared,
            options,
            batch_state.content_key(prepared.sha256, options),
            Memory(_state_paths(file, download)),
        )

        async def post_and_follow() -> int:
            async with patient_client(url, key) as client:
                posted = await _found_or_posted(client, service_url(url), upload, again=again)
                if no_wait:
                    said = posted.model_dump(mode="json")
                    typer.echo(json.dumps(said) if as_json else batch_line(said))
                    return ExitCode.OK
                return await watch_batch(client, posted, wanted, line_numbers=prepared.numbers)

        code = run(post_and_follow, goes_on="the batch (the same command again goes on with it)", of_file=upload.name)
    raise typer.Exit(code)


def _prepare(file: str, kind: Kind | None, scratch: Path, defaults: dict[str, Any], on_invalid: OnInvalid) -> Prepared:
    """Read the file.

    Raises:
        typer.Exit: it can't be sent, and lines have said why.
    """
    name, into, skip = "stdin" if file == STDIN else file, scratch / "batch.jsonl", on_invalid == "skip"
    found = kind or (Kind.JSONL if file == STDIN else KIND_OF_SUFFIX.get(Path(file).suffix.lower()))
    if found is None:
        raise refused(f"{file}: ends in none of {', '.join(KIND_OF_SUFFIX)}; say --format", code=ExitCode.USAGE)
    try:
        if file == STDIN:
            return prepare(sys.stdin.buffer, into, name=name, kind=found, defaults=defaults, skip_invalid=skip)
        with Path(file).open("rb") as source:
            return prepare(source, into, name=name, kind=found, defaults=defaults, skip_invalid=skip)
    except BadFileError as error:
        for problem in error.problems:
            refused(problem)
        raise typer.Exit(ExitCode.USAGE) from None
    except OSError as error:
        raise refused(f"{error.filename or file}: {error.strerror}", code=ExitCode.USAGE) from None


def _state_paths(file: str, download: Path | None) -> list[Path]:
    beside_downloads = [] if download is None else [download / batch_state.NAME]
    beside_file = [] if file == STDIN else [batch_state.beside_file(Path(file))]
    return beside_downloads + beside_file


async def _found_or_posted(client: "AsyncClient", url: str, upload: Upload, *, again: bool) -> "Batch":
    """Give the batch that this content has become, posting it first where it is none yet."""
    from darkroom.client import ApiError, NotFound

    before = upload.memory.find(url, upload.key)
    sent = None if again else before
    if sent is not None and sent.batch_id is not None:
        try:
            found = await client.batch(sent.batch_id)
        except NotFound:
            raise refused(
                f"{upload.name} was posted as {sent.batch_id} ({sent.sent_at}), which the service does not know (any"
                " more, or not by this key); --again posts it anew, which costs again"
            ) from None
        _note(f"{upload.name} is {found.id} already: going on with it")
        return found
    if sent is not None and sent.is_open_and_old:
        raise refused(
            f"{upload.name} was sent at {sent.sent_at} and no answer came: it may have become a batch, see"
            " `darkroom batches list`; --again posts it anew, which costs again"
        )
    if sent is None:
        sent = (batch_state.another_upload if again else batch_state.first_upload)(url, upload.key)
    try:
        return await _post(client, upload, sent)
    except ApiError as error:
        if error.status < UNKNOWN_FROM and error.code != "idempotency_in_progress":  # refused: it is no batch
            upload.memory.keep(url, upload.key, before)
        raise


async def _post(client: "AsyncClient", upload: Upload, sent: Sent) -> "Batch":
    upload.memory.keep(sent.url, upload.key, sent)
    posted = await client.submit_batch(upload.prepared.path, **upload.options, idempotency_key=sent.idempotency_key)
    upload.memory.keep(sent.url, upload.key, batch_state.accepted(sent, posted.id))
    _note(f"{upload.name} is {posted.id}: {plural(posted.total, 'job')}, {usd(posted.cost.estimated)} estimated")
    return posted


def _note(text: str) -> None:
    typer.echo(text, err=True)
