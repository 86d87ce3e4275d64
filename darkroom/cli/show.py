"""How the client commands say things: money, times, sizes, a job and a batch in a line."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

STYLES = {
    "completed": "green",
    "failed": "red",
    "canceled": "yellow",
    "expired": "yellow",
    "unconfirmed": "magenta",
    "generating": "cyan",
    "storing": "cyan",
    "submitting": "cyan",
}
_UNITS = ("B", "kB", "MB", "GB", "TB")
_PROMPT_SHOWN = 48


def usd(amount: float) -> str:
    """Spell an amount of money."""
    return f"{amount:,.2f} USD"


def duration(seconds: float) -> str:
    """Spell a time span: 8 s, 3:05 min, 1:02:03 h."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d} h"
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def size(count: float) -> str:
    """Spell a number of bytes."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def moment(at: str | None) -> str:
    """Spell a time of the API, in UTC and without what is smaller than a second; empty for none."""
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else ""


def plural(count: int, noun: str) -> str:
    """Count things: 1 image, 2 images, 1,000 images."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def plain(text: str) -> str:
    """Write what would move the cursor or colour the terminal as its escape: it may be somebody else's text."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def shortened(text: str, most: int = _PROMPT_SHOWN) -> str:
    """Put a text on one line of limited length."""
    line = plain(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def counted(counts: Mapping[str, int]) -> str:
    """Say how many there are of each, those there are none of left out."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


def job_line(job: Mapping[str, Any]) -> str:
    """Say in a line where a job is, or how it ended; `job` is the API's own JSON."""
    cost = job["cost"]
    if job["error"]:
        return f"{job['id']} {job['status']} ({job['error']['code']}): {shortened(job['error']['message'], 200)}"
    if job["outputs"]:
        return f"{job['id']} {job['status']}: {plural(len(job['outputs']), 'image')}, {usd(cost['spent'])} spent"
    if cost["spent"]:
        money = f"{usd(cost['spent'])} spent"
    else:
        money = "nothing spent" if job["finished_at"] else f"{usd(cost['estimated'])} estimated"
    return f"{job['id']} {job['status']}: {plural(cost['images_requested'], 'image')} asked for, {money}"


def batch_line(batch: Mapping[str, Any]) -> str:
    """Say in a line where a batch is, or how it ended; `batch` is the API's own JSON."""
    cost = batch["cost"]
    held = ", held: the day's budget is spent" if batch.get("held") else ""
    money = f"{usd(cost['spent'])} of {usd(cost['estimated'])} spent"
    jobs = plural(batch["total"], "job")
    return f"{batch['id']} {batch['status']}: {jobs}: {counted(batch['counts'])}; {money}{held}"
