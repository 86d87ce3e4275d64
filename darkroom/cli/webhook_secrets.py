"""`darkroom webhooks secrets` and `… default`: what signs a tenant's webhooks, and whom they tell by default."""

import json
from typing import Annotated, Any

import typer

from darkroom.cli.http import api
from darkroom.cli.lane import AsJson, Key, Url
from darkroom.cli.tables import print_table

Tenant = Annotated[str | None, typer.Option(help="Whose; needed with an operator's key.")]

secrets = typer.Typer(
    name="secrets", help="List, rotate and revoke what a tenant's webhooks are signed with.", no_args_is_help=True
)
default = typer.Typer(
    name="default", help="Whom to tell of jobs that name no webhook of their own.", no_args_is_help=True
)


@secrets.command("list", epilog="Example: darkroom webhooks secrets list --tenant acme")
def list_secrets(tenant: Tenant = None, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the secrets that sign, newest first, without telling them."""
    found = api(url, key).call("GET", "webhooks", "secrets", query={"tenant": tenant})
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [[row["id"], row["hint"], row["created_at"], row["expires_at"] or "not"] for row in found["data"]]
    print_table(["secret", "hint", "made", "ends"], rows, nothing="none of its own: the operator's secret signs")
    if found["operator_secret_until"]:
        typer.echo(f"the operator's secret signs too until {found['operator_secret_until']}")


@secrets.command(epilog="Example: darkroom webhooks secrets rotate --tenant acme --overlap 3600")
def rotate(
    tenant: Tenant = None,
    overlap: Annotated[int, typer.Option(min=0, help="Seconds that the ones before go on signing beside it.")] = 86_400,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a new secret and print it, this once."""
    made = api(url, key).call(
        "POST", "webhooks", "secrets", body={"overlap_seconds": overlap}, query={"tenant": tenant}
    )
    typer.echo(json.dumps(made) if as_json else made["secret"])


@secrets.command(epilog="Example: darkroom webhooks secrets revoke sec_… --tenant acme")
def revoke(
    secret: Annotated[str, typer.Argument(help="The secret's id.")],
    tenant: Tenant = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a secret sign nothing from now on; after the last one the operator's signs again."""
    api(url, key).call("DELETE", "webhooks", "secrets", secret, query={"tenant": tenant})
    typer.echo(json.dumps({"revoked": secret}) if as_json else f"{secret} signs nothing any more")


@default.command(epilog="Example: darkroom webhooks default show --tenant acme")
def show(tenant: Tenant = None, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Say whom jobs without a webhook of their own tell."""
    _say(api(url, key).call("GET", "webhooks", "default", query={"tenant": tenant}), as_json)


@default.command("set", epilog="Example: darkroom webhooks default set https://example.com/hooks --tenant acme")
def set_default(
    address: Annotated[str, typer.Argument(metavar="URL", help="The address to tell.")],
    event: Annotated[list[str] | None, typer.Option(help="Only this type; may be repeated. Default: all four.")] = None,
    tenant: Tenant = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Tell this address of every job that names no webhook of its own."""
    body = {"url": address, "events": event or None}
    _say(api(url, key).call("PUT", "webhooks", "default", body=body, query={"tenant": tenant}), as_json)


@default.command(epilog="Example: darkroom webhooks default clear --tenant acme")
def clear(tenant: Tenant = None, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Tell nobody of jobs that name no webhook of their own."""
    api(url, key).call("DELETE", "webhooks", "default", query={"tenant": tenant})
    typer.echo(json.dumps(None) if as_json else "there is no default webhook any more")


def _say(webhook: Any, as_json: bool) -> None:
    events = ", ".join(webhook["events"]) if webhook["events"] else "every terminal event"
    typer.echo(json.dumps(webhook) if as_json else f"{webhook['url']}: {events}")
