"""`darkroom webhooks`: what reached nobody and sending it again, hosts that fail, secrets, trying a receiver."""

import json
from typing import Annotated, Any

import typer

from darkroom.cli.http import api
from darkroom.cli.lane import AsJson, Key, Url
from darkroom.cli.listen import listen
from darkroom.cli.reading import read_moment
from darkroom.cli.tables import print_table
from darkroom.cli.webhook_secrets import default, secrets

webhooks = typer.Typer(
    name="webhooks",
    help="See which webhooks reached nobody and send them again, the secrets they are signed with, and try a receiver.",
    no_args_is_help=True,
)
webhooks.add_typer(secrets)
webhooks.add_typer(default)
webhooks.command(epilog="Example: darkroom webhooks listen --port 8787")(listen)

MOST_SHOWN = 200

Host = Annotated[str | None, typer.Option(help="Only to this host, with or without its port.")]
Tenant = Annotated[str | None, typer.Option(help="Operators: only this tenant's.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(webhooks)


@webhooks.command(epilog="Example: darkroom webhooks failed --since 24h")
def failed(
    since: Annotated[str, typer.Option(help="From when on: a time, or how long ago: 30m, 24h, 7d.")] = "7d",
    host: Host = None,
    tenant: Tenant = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List what reached nobody, the longest ended first, an operator's by tenant (200 at most)."""
    query = {"since": read_moment(since, option="--since"), "host": host, "tenant": tenant, "limit": MOST_SHOWN}
    page = api(url, key).call("GET", "deliveries", query=query)
    if as_json:
        typer.echo(json.dumps(page))
        return
    rows = [
        [row["id"], row.get("tenant", "you"), row["status"], row["type"], _subject(row), _last(row), row["url"]]
        for row in page["data"]
    ]
    columns = ["delivery", "tenant", "status", "type", "job or batch", "last attempt", "url"]
    print_table(
        columns,
        rows,
        nothing=f"none has ended undelivered since {query['since']}; what is still tried is not listed here",
    )
    if page["next_cursor"]:
        typer.echo(f"… and there may be more; these are the first {MOST_SHOWN}")


@webhooks.command(epilog="Example: darkroom webhooks recover --since 2h --host hooks.example.com")
def recover(
    since: Annotated[str, typer.Option(help="From when on: a time, or how long ago: 30m, 24h, 7d.")],
    host: Host = None,
    tenant: Tenant = None,
    gone: Annotated[bool, typer.Option("--gone", help="Also those whose receiver has answered 410 Gone.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send everything again that reached nobody since then, each with the same event id."""
    body = {
        "since": read_moment(since, option="--since"),
        "host": host,
        "tenant": tenant,
        "statuses": ["exhausted", "gone"] if gone else ["exhausted"],
    }
    done = api(url, key).call("POST", "deliveries", "recover", body=body)
    typer.echo(json.dumps(done) if as_json else f"{done['recovered']} sent again")


@webhooks.command(epilog="Example: darkroom webhooks redeliver dlv_…")
def redeliver(
    delivery: Annotated[str, typer.Argument(help="The delivery's id.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send one delivery again, with the same event id and a fresh schedule."""
    sent = api(url, key).call("POST", "deliveries", delivery, "redeliver")
    typer.echo(json.dumps(sent) if as_json else f"{sent['id']} is sent again to {sent['url']}")


@webhooks.command(epilog="Example: darkroom webhooks hosts --json")
def hosts(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show the receivers' hosts that fail, and those that deliveries wait for."""
    found = api(url, key).call("GET", "webhooks", "hosts")["data"]
    if as_json:
        typer.echo(json.dumps(found))
        return
    columns = [
        "host",
        "tenant",
        "breaker",
        "failing_since",
        "next_probe_at",
        "attempts_under_way",
        "deliveries_waiting",
    ]
    for row in found:
        if row["breaker"] == "open" and not row["next_probe_at"]:
            row["next_probe_at"] = "the next webhook"
    rows = [[str(row[column] if row[column] is not None else "") for column in columns] for row in found]
    titles = [column.replace("_", " ") for column in columns]
    print_table(titles, rows, nothing="no host fails and nothing waits for one")


def _subject(delivery: dict[str, Any]) -> str:
    return str(delivery["job_id"] or delivery["batch_id"])


def _last(delivery: dict[str, Any]) -> str:
    last = delivery["attempts"][-1] if delivery["attempts"] else None
    return f"{last['at']}: {last['error']}" if last else "none"
