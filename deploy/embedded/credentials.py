"""Keys and secrets of the embedded stack: made once, each in a file of its own that only its owner can read."""

import base64
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What the service asks of its callers and signs its webhooks with."""

    api_key: str
    admin_key: str
    webhook_secret: str


def ensure_credentials(data_dir: Path) -> Credentials:
    """Return the credentials kept under `data_dir`, making those that are missing."""

    def kept(name: str, make: Callable[[], str]) -> str:
        return ensure_secret(data_dir / name, make)

    return Credentials(
        api_key=kept("api-key", new_api_key),
        admin_key=kept("admin-key", new_admin_key),
        webhook_secret=kept("webhook-secret", new_webhook_secret),
    )


def ensure_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in `path`; make it first where there is none yet. The file is never half written."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    return path.read_text().strip()


def new_api_key() -> str:
    """Return a fresh key for a tenant."""
    return "dk_" + secrets.token_urlsafe(32)


def new_admin_key() -> str:
    """Return a fresh key for an operator."""
    return "dka_" + secrets.token_urlsafe(32)


def new_webhook_secret() -> str:
    """Return a fresh signing secret in the form of the Standard Webhooks specification (24 to 64 random bytes)."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def new_password() -> str:
    """Return a password that needs no quoting in a URL, a config file or a comma-separated list."""
    return secrets.token_hex(24)


def new_access_key_id() -> str:
    """Return an id in the shape that S3 clients expect."""
    return "DARKROOM" + secrets.token_hex(6).upper()
