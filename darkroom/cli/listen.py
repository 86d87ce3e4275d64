"""`darkroom webhooks listen`: print and verify what arrives on a port of this machine, for trying webhooks out."""

import base64
import errno
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli.http import refused, setting
from darkroom.cli.show import plain
from darkroom.moments import moment_text

if TYPE_CHECKING:
    from darkroom.cli.trial_receiver import Arrival, TrialReceiver

EXIT_NOT_VERIFIED = 1
VARIABLE = "DARKROOM_WEBHOOK_SECRET"
LONGEST_SHOWN = 64


def listen(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8787,
    host: Annotated[str, typer.Option(help="The address of this machine to listen on.")] = "127.0.0.1",
    secret: Annotated[
        str | None,
        typer.Option(help=f"whsec_…, several with commas; else {VARIABLE}, or what `darkroom up` keeps."),
    ] = None,
    status: Annotated[
        int, typer.Option(min=200, max=599, help="What to answer to what verifies, 500 to see retries.")
    ] = 204,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many; exit code 1 if one of them did not verify.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Print every webhook that arrives on a port of this machine, verified or why not, until Ctrl-C.

    What does not verify is answered 401. Darkroom reaches this machine only if it may: see the hint at the start.
    """
    secrets, source = _secrets(secret)
    with _receiver(host, port, secrets, status=status, most=count) as receiver:
        try:
            _say_where(receiver, source)
            failures = _print_arrivals(receiver, count, as_json)
        except KeyboardInterrupt:
            return
    if failures:
        raise typer.Exit(EXIT_NOT_VERIFIED)


def _print_arrivals(receiver: "TrialReceiver", count: int | None, as_json: bool) -> int:
    """Print so many deliveries, or (None) for ever; give how many of them did not verify."""
    failures = 0
    for _ in repeat(None) if count is None else repeat(None, count):
        arrival = receiver.arrivals.get()
        typer.echo(_json_line(arrival) if as_json else _line(arrival))
        failures += arrival.problem is not None
    return failures


@contextmanager
def _receiver(host: str, port: int, secrets: list[str], *, status: int, most: int | None) -> "Iterator[TrialReceiver]":
    """Listen for the time of a block.

    Raises:
        typer.Exit: the address can't be listened on, and one line has said why.
    """
    from darkroom.cli.trial_receiver import TrialReceiver

    try:
        receiver = TrialReceiver((host, port), secrets, status=status, most=most)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no address"
        elsewhere = isinstance(error, UnicodeError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        raise refused(
            f"{'--host' if elsewhere else '--port'}: {host}:{port} can't be listened on: {why}", code=2
        ) from None
    thread = threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()
        thread.join()


def _secrets(given: str | None) -> tuple[list[str], str]:
    """Give the secrets and where they are from: the command line, the settings, or what `darkroom up` keeps here."""
    configured = setting(VARIABLE)
    kept = Path(setting("DARKROOM_DATA_DIR") or ".darkroom") / "webhook-secret"
    if given is not None:
        text, source = given, "--secret"
    elif configured:
        text, source = configured, VARIABLE
    else:
        try:
            text, source = kept.read_text(), str(kept)
        except (OSError, UnicodeError):
            raise refused(f"--secret: give the webhook secret, or set {VARIABLE} (none is in {kept})", code=2) from None
    secrets = [part.strip() for part in text.split(",") if part.strip()]
    if not secrets or not all(_is_wellformed(part) for part in secrets):
        raise refused(f"{source}: a secret is whsec_ and base64; several are separated by commas", code=2)
    return secrets, source


def _is_wellformed(secret: str) -> bool:
    try:
        return secret.startswith("whsec_") and bool(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        return False


def _say_where(receiver: "TrialReceiver", source: str) -> None:
    job = json.dumps({"webhook": {"url": receiver.url}})
    by_itself = "; `make run` sees to that" if ip_address(receiver.host).is_loopback else ""
    own = "" if source == "--secret" else " (a tenant with a secret of its own needs --secret)"
    typer.echo(f"listening on {receiver.url}, verifying with {source}{own}; Ctrl-C ends", err=True)
    typer.echo(f"in a job: {job}", err=True)
    typer.echo(f"DARKROOM_WEBHOOK_ALLOW_NETWORKS must hold {_network(receiver.host)}{by_itself}", err=True)


def _network(host: str) -> str:
    """Name the network that has to be allowed for a webhook to get here."""
    address = ip_address(host)
    if not address.is_loopback:
        return f"a network with {host} in it, if that is a private address"
    return "127.0.0.0/8" if address.version == 4 else "::1/128"


def _line(arrival: "Arrival") -> str:
    """Write a delivery for people; of what is not verified nothing reaches the terminal but printable characters."""
    told = [_shown(text) for text in (arrival.type, arrival.job_id, arrival.status, arrival.webhook_id)]
    words = [_iso(arrival), "verified" if arrival.problem is None else "NOT VERIFIED", *told]
    words.append(f"{arrival.size_bytes} bytes")
    if arrival.repeat:
        words.append("repeat")
    if arrival.problem is not None:
        words.append(f"({arrival.problem})")
    return "  ".join(words)


def _json_line(arrival: "Arrival") -> str:
    return json.dumps(
        {
            "at": _iso(arrival),
            "verified": arrival.problem is None,
            "problem": arrival.problem,
            "answered": arrival.answered,
            "type": arrival.type,
            "job_id": arrival.job_id,
            "status": arrival.status,
            "webhook_id": arrival.webhook_id,
            "repeat": arrival.repeat,
            "bytes": arrival.size_bytes,
        }
    )


def _iso(arrival: "Arrival") -> str:
    return moment_text(arrival.at)


def _shown(text: str | None) -> str:
    printable = plain(text or "-")
    return printable if len(printable) <= LONGEST_SHOWN else f"{printable[:LONGEST_SHOWN]}…"
