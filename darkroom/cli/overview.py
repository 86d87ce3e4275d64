"""`darkroom status` and `darkroom usage`: what the service does now, and what was asked of it and spent."""

import json
from typing import Annotated, Any

import typer

from darkroom.cli.connection import AsJson, Key, Url, callers_api
from darkroom.cli.show import counted, moment, plain, plural, usd
from darkroom.cli.tables import print_table

USAGE_COLUMNS = ["day", "jobs", "completed", "failed", "canceled", "expired", "images", "of", "spent"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(epilog="Example: darkroom status --json")(status)
    app.command(epilog="Example: darkroom usage --from 2026-11-01 --to 2026-11-30")(usage)


def status(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show the line, the lanes (upstream accounts) and the workers. A tenant's key sees its own line only."""
    found = callers_api(url, key).call("GET", "status")
    if as_json:
        typer.echo(json.dumps(found))
        return
    if found["simulated"]:
        typer.echo("SIMULATED UPSTREAM: no real images, no money spent")
    typer.echo(f"{plural(found['line']['depth'], 'job')} in the line")
    for tenant in found["line"]["tenants"]:
        typer.echo(f"  {plain(tenant['tenant'])}: {counted(tenant['by_priority'])}")
    print_table(
        ["lane", "state", "images/min", "concurrency", "in flight", "last minute", "tried again"],
        [_lane(lane) for lane in found["lanes"]],
        nothing="no lane yet: no worker has started",
    )
    print_table(
        ["worker", "last sign of life", "queues"],
        [[worker["name"], moment(worker["alive_at"]), ",".join(worker["queues"])] for worker in found["workers"]],
        nothing="NO WORKERS: jobs are accepted and wait",
    )


def usage(
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First UTC day; default: 30 days in all.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last UTC day; default: today.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Operators: only this tenant's.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show jobs, images and money by UTC day; the table leaves out days without any."""
    found = callers_api(url, key).call("GET", "usage", query={"from": first, "to": last, "tenant": tenant})
    if as_json:
        typer.echo(json.dumps(found))
        return
    days = [day for day in found["data"] if day["jobs"] or day["spent_usd"] or day["images_delivered"]]
    rows = [_day(day["date"], day) for day in days]
    if len(rows) > 1:
        rows.append(_day("all", found["total"]))
    print_table(USAGE_COLUMNS, rows, nothing="nothing in these days")
    if found["budget_usd"] is not None:
        typer.echo(f"{usd(found['budget_left_usd'])} of today's budget of {usd(found['budget_usd'])} left")


def _lane(lane: Any) -> list[str]:
    return [
        lane["name"],
        f"{lane['state']} ({lane['reason']})" if lane["reason"] else lane["state"],
        str(lane["limits"]["images_per_minute"]),
        str(lane["limits"]["max_concurrency"]),
        str(lane["in_flight"]),
        str(lane["images_last_minute"]),
        moment(lane["resumes_at"]),
    ]


def _day(name: str, day: Any) -> list[str]:
    numbers = ("jobs", "completed", "failed", "canceled", "expired", "images_delivered", "images_requested")
    return [name, *(f"{day[number]:,}" for number in numbers), usd(day["spent_usd"])]
