"""`darkroom keys`: the API keys that settings and files name here, hidden, and whether the service takes them."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import typer

from darkroom.cli.connection import AsJson, Url, kept_key_path, service_url
from darkroom.cli.http import setting
from darkroom.cli.tables import print_table

TIMEOUT_S = 5.0
SHORTEST_HINTED = 12
"""Of a shorter key four letters would give away too much."""

UNAUTHORIZED = 401
COLUMNS = ["of", "name", "key", "where", "accepted"]

Accepted = Literal["yes", "no", "not known"]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key, without most of it; `first` is the one that client commands use where `--key` says nothing."""

    of: Literal["tenant", "operator"]
    name: str | None
    hint: str
    where: str
    accepted: Accepted
    first: bool


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog="Example: darkroom keys")(keys)


def keys(url: Url = None, as_json: AsJson = False) -> None:
    """List the API keys known on this machine, all but their ends hidden, and whether the service accepts them.

    Keys are set with DARKROOM_API_KEYS and DARKROOM_ADMIN_KEYS where the service runs, or made by `darkroom up`.
    """
    address = service_url(url)
    known = list(_known(address))
    if as_json:
        typer.echo(json.dumps([asdict(key) for key in known]))
        return
    rows = [
        [
            key.of,
            key.name or "",
            key.hint,
            f"{key.where}{' (used by the client)' if key.first else ''}",
            key.accepted,
        ]
        for key in known
    ]
    print_table(COLUMNS, rows, nothing="no keys: none is set, and `darkroom up` has made none in this directory")
    if any(key.accepted == "not known" for key in known):
        typer.echo(f"whether they are accepted is not known: no answer from {address}")


def _known(address: str) -> Iterator[KnownKey]:
    first = True
    for of, name, key, where in _found():
        yield KnownKey(of, name, _hint(key), where, _accepted(address, key), first and of == "tenant")
        first = first and of != "tenant"


def _found() -> Iterator[tuple[Literal["tenant", "operator"], str | None, str, str]]:
    """Give the keys in the order in which they are looked for, each with its place."""
    if own := setting("DARKROOM_API_KEY"):
        yield "tenant", None, own, "DARKROOM_API_KEY"
    for part in _parts("DARKROOM_API_KEYS"):
        tenant, _, key = part.partition(":")
        yield "tenant", tenant, key, "DARKROOM_API_KEYS"
    yield from (("tenant", None, key, where) for key, where in _kept("api-key"))
    for part in _parts("DARKROOM_ADMIN_KEYS"):
        name, _, key = part.rpartition(":")
        yield "operator", name or None, key, "DARKROOM_ADMIN_KEYS"
    yield from (("operator", None, key, where) for key, where in _kept("admin-key"))


def _parts(variable: str) -> list[str]:
    return [part.strip() for part in (setting(variable) or "").split(",") if part.strip()]


def _kept(name: str) -> Iterator[tuple[str, str]]:
    path = kept_key_path(name)
    with contextlib.suppress(OSError, UnicodeError):
        if key := path.read_text().strip():
            yield key, str(path)


def _hint(key: str) -> str:
    return f"…{key[-4:]}" if len(key) >= SHORTEST_HINTED else "…"


def _accepted(address: str, key: str) -> Accepted:
    import httpx

    try:
        headers = {"Authorization": f"Bearer {key}"}
        answer = httpx.get(f"{address}/v1/status", headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return "not known"
    if answer.is_success:
        return "yes"
    return "no" if answer.status_code == UNAUTHORIZED else "not known"
