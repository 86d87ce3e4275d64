"""Which batch a file has become, so that running the same command again continues and pays for nothing twice.

The Idempotency-Key is made of what is sent and how: the service itself answers a repeated upload with the first batch.
It remembers keys for a day; small files beside the downloads and beside the batch's file remember for ever, so that the
one may be moved without the other. They are written before anything is sent: an upload whose answer was lost is
repeated under the same key, and refused once that could pay twice.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from darkroom.errors import DarkroomError

NAME = ".darkroom-batches.json"
KEYS_KNOWN = timedelta(hours=23)
"""How long the service surely knows a key: it keeps them for 24 h at least."""

_VERSION = 1


class UnreadableStateError(DarkroomError):
    """The file is there and not ours to understand: what was sent before is not known."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One upload: `batch_id` is None until its answer has come."""

    url: str
    idempotency_key: str
    sent_at: str
    batch_id: str | None = None

    @property
    def is_open_and_old(self) -> bool:
        """Whether nobody knows if it was taken, and repeating it might make a second batch."""
        return self.batch_id is None and datetime.now(UTC) - datetime.fromisoformat(self.sent_at) > KEYS_KNOWN


def content_key(sha256: str, options: Mapping[str, Any]) -> str:
    """Give the Idempotency-Key of what is sent: its content, and the options that go with it."""
    text = json.dumps([_VERSION, sha256, options], sort_keys=True, separators=(",", ":"))
    return f"cli-{hashlib.sha256(text.encode()).hexdigest()}"


def first_upload(url: str, key: str) -> Sent:
    """Note an upload that is about to be made under its content's key."""
    return Sent(url, key, datetime.now(UTC).isoformat(timespec="milliseconds"))


def another_upload(url: str, key: str) -> Sent:
    """Note an upload of the same content that is meant to be a batch of its own."""
    return replace(first_upload(url, key), idempotency_key=f"{key}-{secrets.token_hex(8)}")


def accepted(sent: Sent, batch_id: str) -> Sent:
    """Note the answer."""
    return replace(sent, batch_id=batch_id)


class Memory:
    """Looks in several files and writes to all of them; with none it remembers nothing.

    The first one must be writable; where a later one is not (a folder that is read only), the first has to do.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def find(self, url: str, key: str) -> Sent | None:
        """Give the newest upload of this content to this service.

        Raises:
            UnreadableStateError: a file is there and can't be read.
        """
        name = _name(url, key)
        found = [Sent(**known[name]) for path in self._paths if name in (known := _read(path))]
        return max(found, key=lambda sent: (sent.sent_at, sent.batch_id is not None), default=None)

    def keep(self, url: str, key: str, sent: Sent | None) -> None:
        """Remember an upload, or (None) that there is none, on the disk when this returns.

        Raises:
            OSError: it can't be written.
            UnreadableStateError: the file is there and can't be read.
        """
        name = _name(url, key)
        for number, path in enumerate(self._paths):
            others = {kept: upload for kept, upload in _read(path).items() if kept != name}
            try:
                _write(path, others if sent is None else {**others, name: asdict(sent)})
            except OSError as error:
                if number == 0 or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise


def beside_file(file: Path) -> Path:
    """Say where a batch's file has its memory when nothing is downloaded."""
    return file.with_name(f".{file.name}{NAME}")


def _name(url: str, key: str) -> str:
    return f"{key} {url}"


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or kept.get("version") != _VERSION or not _are_uploads(kept.get("batches")):
        raise UnreadableStateError(f"{path}: can't be understood, so what was sent before is not known; move it away")
    uploads: dict[str, Any] = kept["batches"]
    return uploads


def _are_uploads(kept: Any) -> bool:
    try:
        return all(Sent(**entry).sent_at and datetime.fromisoformat(entry["sent_at"]) for entry in kept.values())
    except (AttributeError, TypeError, ValueError):
        return False


def _write(path: Path, uploads: Mapping[str, Any]) -> None:
    if not uploads:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with draft.open("w") as file:
            json.dump({"version": _VERSION, "batches": uploads}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
