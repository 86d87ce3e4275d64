"""`darkroom batch FILE`: post a file's jobs as one batch, follow it, fetch its images; run again, it goes on."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import typer

from darkroom.cli import batch_state
from darkroom.cli.batch_lines import KIND_OF_SUFFIX, BadFileError, Kind, Prepared, prepare
from darkroom.cli.batch_state import Memory
from darkroom.cli.batch_upload import Upload, found_or_posted
from darkroom.cli.connection import AsJson, Key, Url, one_line_errors, patient_client, service_url
from darkroom.cli.exits import ExitCode
from darkroom.cli.http import refused
from darkroom.cli.reading import read_pairs, read_seconds
from darkroom.cli.show import batch_line
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

EXAMPLES = """Examples: darkroom batch prompts.jsonl --max-images 4 --download shots

darkroom batch panels.csv --metadata order=1234 --no-wait --json"""

OnInvalid = Literal["refuse", "skip"]


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
    with one_line_errors(), tempfile.TemporaryFile(prefix="darkroom-") as scratch:
        prepared = _prepare(file, kind, scratch, {n: v for n, v in defaults.items() if v is not None}, on_invalid)
        upload = Upload(
            "stdin" if file == STDIN else file,
            prepared,
            options,
            batch_state.content_key(prepared.sha256, options),
            Memory(_state_paths(file, download)),
        )

        async def post_and_follow() -> int:
            async with patient_client(url, key) as client:
                posted = await found_or_posted(client, service_url(url), upload, again=again)
                if no_wait:
                    said = posted.model_dump(mode="json")
                    typer.echo(json.dumps(said) if as_json else batch_line(said))
                    return ExitCode.OK
                return await watch_batch(client, posted, wanted, line_numbers=prepared.numbers)

        try:
            code = run(post_and_follow, goes_on="the batch", of_file=upload.name, directory=download)
        except typer.Exit as ended:
            if ended.exit_code in (ExitCode.INTERRUPTED, ExitCode.TIMEOUT):
                without = " without --again" if again else ""  # which would be one more batch
                typer.echo(f"{upload.name}: run the same command again{without} to go on", err=True)
            raise
    raise typer.Exit(code)


def _prepare(
    file: str, kind: Kind | None, scratch: BinaryIO, defaults: dict[str, Any], on_invalid: OnInvalid
) -> Prepared:
    """Read the file.

    Raises:
        typer.Exit: it can't be sent, and lines have said why.
    """
    name, skip = "stdin" if file == STDIN else file, on_invalid == "skip"
    found = kind or (Kind.JSONL if file == STDIN else KIND_OF_SUFFIX.get(Path(file).suffix.lower()))
    if found is None:
        raise refused(f"{file}: ends in none of {', '.join(KIND_OF_SUFFIX)}; say --format", code=ExitCode.USAGE)
    try:
        with sys.stdin.buffer if file == STDIN else Path(file).open("rb") as source:
            return prepare(source, scratch, name=name, kind=found, defaults=defaults, skip_invalid=skip)
    except BadFileError as error:
        for problem in error.problems:
            refused(problem)
        raise typer.Exit(ExitCode.USAGE) from None
    except OSError as error:
        where = error.filename or f"{name}, or its copy in {tempfile.gettempdir()}"
        raise refused(f"{where}: {error.strerror}", code=ExitCode.USAGE) from None


def _state_paths(file: str, download: Path | None) -> list[Path]:
    beside_downloads = [] if download is None else [download / batch_state.NAME]
    beside_file = [] if file == STDIN else [batch_state.beside_file(Path(file))]
    return beside_downloads + beside_file
