"""The table for people: one row a form."""

from itertools import groupby
from typing import Any

from bench.guard.forms import REFUSED


def page(found: dict[str, Any]) -> str:
    """Give the Markdown page of a run that was judged to hold."""
    rows, controls = found["rows"], found["controls"]
    where = (
        "in a network of its own in which every IPv4 and IPv6 address has a listener"
        if found["own_network"]
        else "in this machine's network, with listeners on all of its addresses"
    )
    parts = [
        "# What the address guard refuses\n",
        f"{len(rows)} forms, tried {where}; names were answered by {found['names']}. Plain http was allowed, and the "
        "ports 80, 443 and the listeners'. Posted: as a job's webhook to a real API. Connecting: by the code that "
        "delivers webhooks and that fetches outputs, as if posting had not refused it; outputs over https, for an "
        f"upstream at a public address. Of all these attempts {found['arrived']} connections arrived, "
        f"{found['proxy_arrived']} at the proxy that the environment named, and the kernel saw none begin. "
        "How: [METHOD.md](../METHOD.md).\n",
    ]
    for group, members in groupby(rows, key=lambda row: str(row["group"])):
        parts += [f"## {group}\n", "| URL | refused at posting | at connecting | as an output | connections | reason |"]
        parts += ["|---|---|---|---|--:|---|", *map(_row, members), ""]
    parts += [
        "## Controls: what may connect does, and is counted\n",
        "| | said | connections begun | arrived |",
        "|---|---|--:|--:|",
        *(f"| {item['what']} | {item['said']} | {item['opens']} | {item['arrived']} |" for item in controls),
    ]
    return "\n".join(parts) + "\n"


def _row(row: dict[str, Any]) -> str:
    webhook, fetched = row["webhook"], row["fetched"]
    opens = webhook["opens"] + (fetched["opens"] if fetched else 0)
    posted = "no, a name" if row["posted"] is None else "yes"
    reason = row["posted"] or webhook["said"].removeprefix(REFUSED)
    return f"| {_code(row['url'])} | {posted} | {_refused(webhook)} | {_refused(fetched)} | {opens} | {reason} |"


def _refused(attempt: dict[str, Any] | None) -> str:
    if attempt is None:
        return "not tried"
    return "yes" if attempt["said"].startswith(REFUSED) else "NO"


def _code(url: str) -> str:
    return f"`{''.join(repr(letter)[1:-1] if letter < ' ' else letter for letter in url)}`"
