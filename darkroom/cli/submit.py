"""`darkroom submit`: post one job, and with --watch or --download follow it to its end."""

import json
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from darkroom.cli.connection import AsJson, Key, Url, patient_client
from darkroom.cli.exits import ExitCode
from darkroom.cli.http import refused
from darkroom.cli.reading import read_pairs, read_seconds
from darkroom.cli.show import job_line
from darkroom.cli.watch import Download, Timeout, Wanted, run, watch_job
from darkroom.jobs import Priority

STDIN = "-"
UNKNOWN_FROM = 500
"""HTTP statuses from here on leave open whether a job was accepted."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
EXAMPLES = """Examples: darkroom submit "A fox finds a lantern, a comic strip in four panels" --max-images 4 --watch

cat prompt.txt | darkroom submit - --download shots"""

Size = Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help="In pixels; 2048x2048 if nothing is said.")]
MaxImages = Annotated[int | None, typer.Option(help="Images to make, 1 to 15; each costs 0.04 USD.")]
Webhook = Annotated[str | None, typer.Option(metavar="URL", help="Where to tell about it.")]
WebhookEvent = Annotated[
    list[str] | None, typer.Option(help="Tell only of this type, such as job.completed; may be repeated.")
]
Metadata = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Your own, kept and given back; may be repeated.")
]
ThePriority = Annotated[Priority | None, typer.Option(help="Order among your own waiting jobs.")]
ExpiresIn = Annotated[
    str | None,
    typer.Option(metavar="SPAN", help="How long it may wait in a line that moves: seconds, or 30m, 24h, 7d."),
]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog=EXAMPLES)(submit)


def submit(
    text: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", show_default=False, help="What to draw; - reads it from stdin.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="The same as an option.")] = None,
    max_images: MaxImages = None,
    size: Size = None,
    webhook: Webhook = None,
    webhook_event: WebhookEvent = None,
    metadata: Metadata = None,
    priority: ThePriority = None,
    expires_in: ExpiresIn = None,
    custom_id: Annotated[str | None, typer.Option(help="Your own name for it.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key again, within 24 h, finds the same job.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end; exit code 3 if it fails.")] = False,
    download: Download = None,
    timeout: Timeout = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Post a job. Once this says so it reaches an end, whatever is killed in between."""
    fields: dict[str, Any] = {
        "max_images": max_images,
        "size": size,
        "webhook": webhook_fields(webhook, webhook_event),
        "metadata": read_pairs(metadata, option="--metadata") or None,
        "priority": priority,
        "expires_in": read_seconds(expires_in, option="--expires-in"),
        "custom_id": custom_id,
        "idempotency_key": _visible_key(idempotency_key) or f"cli-{secrets.token_hex(16)}",
    }
    what = _prompt(text, prompt)
    follows = watch or download is not None
    posting = _Posting(fields["idempotency_key"])

    async def post() -> int:
        async with patient_client(url, key) as client:
            with posting.noted():
                job = await client.submit(what, **fields)
                posting.job_id = job.id
            if follows:
                return await watch_job(client, job.id, Wanted(download, timeout, as_json))
        said = job.model_dump(mode="json")
        typer.echo(json.dumps(said) if as_json else job_line(said))
        return ExitCode.OK

    try:
        code = run(post, goes_on="the job", directory=download, shared=True)
    except typer.Exit:
        posting.say_what_is_left()
        raise
    raise typer.Exit(code)


def webhook_fields(url: str | None, events: list[str] | None) -> dict[str, Any] | None:
    """Put a webhook together.

    Raises:
        typer.Exit: there are events and nowhere to send them.
    """
    if url is None and events:
        raise refused("--webhook-event: give --webhook as well", code=ExitCode.USAGE)
    return None if url is None else {"url": url, "events": events or None}


def _prompt(text: str | None, prompt: str | None) -> str:
    if (text is None) == (prompt is None):
        raise refused("give one prompt: as an argument, with --prompt, or - for stdin", code=ExitCode.USAGE)
    given = text if text is not None else prompt or ""
    try:
        return given.encode().decode() if given != STDIN else sys.stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeError:
        raise refused(f"{'stdin' if given == STDIN else 'prompt'}: is not UTF-8", code=ExitCode.USAGE) from None


def _visible_key(given: str | None) -> str | None:
    if given is not None and not _KEY.fullmatch(given):
        raise refused("--idempotency-key: must be 1 to 255 visible ASCII characters", code=ExitCode.USAGE)
    return given


class _Posting:
    """What is known of a job that is being posted."""

    def __init__(self, idempotency_key: str) -> None:
        self.job_id: str | None = None
        self._key = idempotency_key
        self._is_open = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what an end of the block leaves unknown: everything but an answer and a refusal does."""
        from darkroom.client import ApiError, ConnectionFailed

        self._is_open = True
        try:
            yield
        except ApiError as error:
            self._is_open = error.status >= UNKNOWN_FROM
            raise
        except ConnectionFailed as error:
            self._is_open = error.connected
            raise
        self._is_open = False

    def say_what_is_left(self) -> None:
        """Say how to go on after the command has ended before the job."""
        if self.job_id is not None:
            typer.echo(f"see it again: darkroom watch {self.job_id}", err=True)
        elif self._is_open:
            typer.echo(
                f"whether it was accepted is not known; the same with --idempotency-key {self._key} finds out",
                err=True,
            )
