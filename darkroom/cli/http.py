"""What the commands that talk to the API share: its address, the key, one call, and one line for what goes wrong."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

from darkroom.cli.show import plain

EXIT_REFUSED = 1
"""The API can't be reached or says no; a wrong command line or setting is 2."""

TIMEOUT_S = 30.0
NO_CONTENT = 204
_OPTIONS = {
    "url": "URL",
    "events": "--event",
    "overlap_seconds": "--overlap",
    "batch_id": "--batch",
    "created_after": "--since",
    "created_before": "--before",
}
"""The command line's names for fields of the API, where they differ by more than dashes."""


class Api:
    """The API as one caller sees it."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._key = key

    def call(self, method: str, *path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        """Make one call under /v1 and give its JSON (None where the answer has none).

        `path` is the parts of the path, unquoted; what is None in `query` is left out.

        Raises:
            typer.Exit: it failed, and one line has said why.
        """
        import httpx

        if not all(path):
            raise refused("an id is empty", code=2)
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        url = "/".join([self.url, "v1", *(quote(part, safe="") for part in path)])
        try:
            headers = {"Authorization": f"Bearer {self._key}"}
            answer = httpx.request(method, url, json=body, params=asked, headers=headers, timeout=TIMEOUT_S)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
            raise refused(f"--url: {self.url} is no address such as http://127.0.0.1:8000", code=2) from None
        except httpx.TransportError as error:
            raise refused(f"no answer from the API at {self.url} ({type(error).__name__}); is it running?") from None
        said = _json(answer)
        if answer.is_success and (said is not None or answer.status_code == NO_CONTENT):
            return said
        problem = said if isinstance(said, dict) else {}
        detail = _as_options(problem) or problem.get("title") or "no answer that this command understands"
        raise refused(f"{detail} (HTTP {answer.status_code} from {self.url})")


def api(url: str | None, key: str | None) -> Api:
    """Find the API: what the command line says, else the settings, else what `darkroom up` keeps here."""
    return Api(default_url() if url is None else url, sendable("--key", key) if key is not None else _operators_key())


def sendable(source: str, key: str) -> str:
    """Give a key that a header can hold, without the blanks around it.

    Raises:
        typer.Exit: it is empty, or has signs that no header may have.
    """
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise refused(f"{source}: {'the key is empty' if not key else 'the key has signs that no key has'}", code=2)
    return key


def refused(message: str, *, code: int = EXIT_REFUSED) -> typer.Exit:
    """Say in one line why a command ends, and give what to raise."""
    typer.echo(f"darkroom: {plain(message)}", err=True)
    return typer.Exit(code)


def setting(name: str) -> str | None:
    """Read one setting as the service does: the environment first, then `.env`; an empty one counts as unset."""
    return os.environ.get(name) or _dotenv().get(name) or None


def default_url() -> str:
    """Say where the API of these settings is."""
    public = setting("DARKROOM_PUBLIC_URL")
    if public:
        return public
    host = setting("DARKROOM_HOST") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here
    port = setting("DARKROOM_PORT") or "8000"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise refused(f"DARKROOM_PORT: {port[:20]} is no port", code=2)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _operators_key() -> str:
    first = (setting("DARKROOM_ADMIN_KEYS") or "").split(",")[0].strip()
    if first:
        return sendable("DARKROOM_ADMIN_KEYS", first.rpartition(":")[2])
    kept = Path(setting("DARKROOM_DATA_DIR") or ".darkroom") / "admin-key"
    try:
        return sendable(str(kept), kept.read_text())
    except (OSError, UnicodeError):
        raise refused(
            f"--key: give an operator's key, or set DARKROOM_ADMIN_KEYS (none is in {kept})", code=2
        ) from None


def _dotenv() -> dict[str, str]:
    try:
        lines = Path(".env").read_text().splitlines()
    except (OSError, UnicodeError):
        return {}
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): _unquoted(value.strip()) for name, equals, value in pairs if equals}


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()


def _as_options(problem: dict[str, Any]) -> str:
    """Say what is wrong in the command line's words: `--tenant` for what the API calls `query.tenant`."""
    detail = str(problem.get("detail") or "")
    for error in problem.get("errors") or ():
        place = [str(part) for part in error["loc"]]
        if place[0] in ("query", "body") and len(place) > 1:
            detail = detail.replace(".".join(place), _OPTIONS.get(place[1], f"--{place[1].replace('_', '-')}"))
    return detail


def _json(answer: Any) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
