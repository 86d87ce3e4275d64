"""What people write on the command line, read: times, pairs, ids, time spans."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from darkroom.cli.exits import ExitCode
from darkroom.cli.http import refused

_AGO = re.compile(r"(\d{1,6})([smhd])")
_ID = re.compile(r"(job|batch)_[0-9A-Za-z]+")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_moment(text: str, *, option: str) -> str:
    """Read a time, or how long ago it is meant; give it in ISO 8601.

    Raises:
        typer.Exit: it is neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            moment = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            moment = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise refused(
            f"{option}: give a time such as 2026-11-25T08:00Z, or 30m, 24h, 7d", code=ExitCode.USAGE
        ) from None
    return moment.isoformat(timespec="seconds")


def read_seconds(text: str | None, *, option: str) -> int | None:
    """Read a time span: 90, 90s, 30m, 24h, 7d.

    Raises:
        typer.Exit: it is none.
    """
    if text is None:
        return None
    span = _AGO.fullmatch(f"{text}s" if text.isascii() and text.isdigit() else text)
    if not span or int(span[1]) == 0:
        raise refused(f"{option}: give seconds, or 30m, 24h, 7d", code=ExitCode.USAGE)
    return int(timedelta(**{_UNITS[span[2]]: int(span[1])}).total_seconds())


def read_pairs(texts: Sequence[str] | None, *, option: str) -> dict[str, str]:
    """Read KEY=VALUE pairs.

    Raises:
        typer.Exit: one is none, or a key is there twice.
    """
    pairs: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise refused(f"{option}: {text!r} is no KEY=VALUE pair", code=ExitCode.USAGE)
        if name in pairs:
            raise refused(f"{option}: the key {name} is there twice", code=ExitCode.USAGE)
        pairs[name] = value
    return pairs


def is_batch(given: str) -> bool:
    """Tell whether an id is a batch's; the other is a job's.

    Raises:
        typer.Exit: it is neither.
    """
    if not _ID.fullmatch(given):
        raise refused(f"{given[:80]!r} is no id of a job (job_…) or a batch (batch_…)", code=ExitCode.USAGE)
    return given.startswith("batch_")


def read_batch_id(given: str) -> str:
    """Give what is a batch's id.

    Raises:
        typer.Exit: it is none.
    """
    if not given.startswith("batch_") or not _ID.fullmatch(given):
        raise refused(f"{given[:80]!r} is no id of a batch (batch_…)", code=ExitCode.USAGE)
    return given
