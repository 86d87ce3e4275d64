"""What the client commands share: the service's address, the caller's key, and one line for whatever goes wrong."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from darkroom.cli.exits import ExitCode
from darkroom.cli.http import Api, default_url, refused, sendable, setting
from darkroom.errors import ConfigurationError, DarkroomError

if TYPE_CHECKING:
    from darkroom.client import ApiError, AsyncClient, Client

PATIENCE = 9
"""How often a call is repeated while the service is away: about a minute."""

Url = Annotated[
    str | None,
    typer.Option(
        help="The service; else DARKROOM_URL, DARKROOM_PUBLIC_URL, or DARKROOM_HOST and DARKROOM_PORT.",
        rich_help_panel="Service",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        help="Your API key; else DARKROOM_API_KEY, the first of DARKROOM_API_KEYS, or what `darkroom up` keeps.",
        rich_help_panel="Service",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def service_url(url: str | None) -> str:
    """Find the service: what the command line says, else the settings.

    Raises:
        typer.Exit: it is no address.
    """
    name, found = "--url", url
    if found is None:
        own = setting("DARKROOM_URL")
        name, found = ("DARKROOM_URL", own) if own else ("DARKROOM_PUBLIC_URL", default_url())
    found = found.rstrip("/")
    try:
        parts = urlsplit(found)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address or not found.isprintable() or " " in found:
        raise refused(f"{name}: {found!r} is no address such as http://127.0.0.1:8000", code=ExitCode.USAGE)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise refused(f"{name}: must hold no user name, password or query; the key is --key", code=ExitCode.USAGE)
    return found


def callers_key(key: str | None) -> str:
    """Find the caller's key: what the command line says, else the settings, else what `darkroom up` keeps here.

    Raises:
        typer.Exit: there is none.
    """
    if key is not None:
        return _visible("--key", key)
    for name, found in (
        ("DARKROOM_API_KEY", setting("DARKROOM_API_KEY")),
        ("DARKROOM_API_KEYS", _first_of_the_services()),
    ):
        if found:
            return _visible(name, found)
    kept = kept_key_path("api-key")
    with contextlib.suppress(OSError, UnicodeError):
        if found := kept.read_text().strip():
            return _visible(str(kept), found)
    if setting("DARKROOM_AUTH") == "off":
        return "none-is-asked-for"
    raise refused(f"--key: give your API key, or set DARKROOM_API_KEY (none is in {kept})", code=ExitCode.USAGE)


def kept_key_path(name: str) -> Path:
    """Say where `darkroom up` keeps a key on this machine."""
    return Path(setting("DARKROOM_DATA_DIR") or ".darkroom") / name


def _first_of_the_services() -> str:
    return (setting("DARKROOM_API_KEYS") or "").split(",")[0].partition(":")[2].strip()


def callers_api(url: str | None, key: str | None) -> Api:
    """Give the API as the caller sees it, for commands that make a call or two."""
    return Api(service_url(url), callers_key(key))


def open_client(url: str | None, key: str | None) -> "Client":
    """Open a client of the service; the caller closes it."""
    address, secret = service_url(url), callers_key(key)
    from darkroom.client import Client

    return Client(address, secret)


@contextlib.asynccontextmanager
async def patient_client(url: str | None, key: str | None) -> AsyncIterator["AsyncClient"]:
    """Open a client that outlasts a restart of the service, for the time of a block.

    A service that is not there, or does not take the key, is said at once, before anything else is sent.

    Raises:
        DarkroomError: it does not answer, or says no.
    """
    address, secret = service_url(url), callers_key(key)
    from darkroom.client import AsyncClient

    async with AsyncClient(address, secret, retries=1) as first:
        await first.status()
    async with AsyncClient(address, secret, retries=PATIENCE) as client:
        yield client


def _visible(source: str, key: str) -> str:
    key = sendable(source, key)
    if " " in key:
        raise refused(f"{source}: the key has blanks, which no key has", code=ExitCode.USAGE)
    return key


@contextlib.contextmanager
def one_line_errors(*, of_file: str = "") -> Iterator[None]:
    """Turn what goes wrong in a block into a line on stderr and an exit code; `of_file` names a batch's file.

    A refused batch is a line for each of its bad lines.
    """
    from darkroom.client import ApiError, ConnectionFailed

    try:
        yield
    except (TimeoutError, BrokenPipeError):  # the caller knows what goes on; who reads stdout has enough
        raise
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except ApiError as error:
        _tell(error, of_file)
        raise typer.Exit(ExitCode.REFUSED) from None
    except ConnectionFailed as error:
        raise refused(f"{error}; is it running?") from None
    except ConfigurationError as error:
        raise refused(str(error), code=ExitCode.USAGE) from None
    except DarkroomError as error:
        raise refused(str(error)) from None
    except UnicodeEncodeError:  # bytes of the command line that are no text
        raise refused("the command line is not UTF-8", code=ExitCode.USAGE) from None
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise refused(f"{named}{error.strerror or error}") from None


def _option(loc: list[Any]) -> str:
    """Name a field of a job or of a batch as it is typed here."""
    name, *rest = [str(part) for part in loc if part not in ("body", "query")] or ["request"]
    if name in ("prompt", "request"):
        return name
    if name.startswith("webhook"):
        return "--webhook-event" if "events" in (name.removeprefix("webhook_"), *rest) else "--webhook"
    if name.startswith("metadata"):
        return f"--metadata {'.'.join([name, *rest]).removeprefix('metadata.')}"
    return f"--{name.replace('_', '-')}"


def _tell(error: "ApiError", of_file: str) -> None:
    problems: list[Any] = list(error.errors)
    of_lines = [problem for problem in problems if problem["loc"][:1] == ["line"]]
    if not (of_file and of_lines):
        wrong = "; ".join(f"{_option(problem['loc'])}: {problem['msg']}" for problem in problems)
        refused(f"{wrong or error.detail} (HTTP {error.status}, {error.code})")
        return
    for problem in of_lines:
        _, line, *field = problem["loc"]
        where = f"{'.'.join(str(part) for part in field)}: " if field else ""
        refused(f"{of_file}, line {line}: {where}{problem['msg']}")
