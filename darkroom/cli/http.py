"""What the commands that talk to the API share: its address, the key, one call, and one line for what goes wrong."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

EXIT_REFUSED = 1
"""The API can't be reached or says no; a wrong command line or setting is 2."""

TIMEOUT_S = 30.0
NO_CONTENT = 204


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
        detail = problem.get("detail") or problem.get("title") or "no answer that this command understands"
        raise refused(f"{detail} (HTTP {answer.status_code} from {self.url})")


def api(url: str | None, key: str | None) -> Api:
    """Find the API: what the command line says, else the settings, else what `darkroom up` keeps here."""
    return Api(url or default_url(), key or _operators_key())


def refused(message: str, *, code: int = EXIT_REFUSED) -> typer.Exit:
    """Say in one line why a command ends, and give what to raise."""
    typer.echo(f"darkroom: {message}", err=True)
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
    return f"http://{f'[{host}]' if ':' in host else host}:{setting('DARKROOM_PORT') or '8000'}"


def _operators_key() -> str:
    first = (setting("DARKROOM_ADMIN_KEYS") or "").split(",")[0].strip()
    if first:
        return first.rpartition(":")[2]
    kept = Path(setting("DARKROOM_DATA_DIR") or ".darkroom") / "admin-key"
    try:
        return kept.read_text().strip()
    except OSError:
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


def _json(answer: Any) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
