"""`darkroom lane`: see the upstream accounts, pause and resume them, change their limits."""

import json
from typing import Annotated, Any

import typer

from darkroom.cli.http import Api, api, refused
from darkroom.cli.tables import print_table

CONFIGURED = "configured"

lane = typer.Typer(
    name="lane",
    help="See the lanes (upstream accounts), pause and resume them, change their limits. Needs an operator's key.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The lane.")]
Url = Annotated[str | None, typer.Option(help="The API; else DARKROOM_PUBLIC_URL, or DARKROOM_HOST and DARKROOM_PORT.")]
Key = Annotated[
    str | None,
    typer.Option(help="An operator's key; else the first of DARKROOM_ADMIN_KEYS, or what `darkroom up` keeps."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's own JSON.")]
Limit = Annotated[
    str | None, typer.Option(metavar="N|configured", help="`configured` takes the setting's value again.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(lane)


@lane.command("list", epilog="Example: darkroom lane list --json")
def list_lanes(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show every lane: its state and why, its limits and what is under way."""
    lanes = api(url, key).call("GET", "status")["lanes"]
    if as_json:
        typer.echo(json.dumps(lanes))
        return
    rows = []
    for found in lanes:
        limits, configured = found["limits"], found["configured_limits"]
        rows.append(
            [
                found["name"],
                _state(found),
                *(_limit(limits[name], configured[name]) for name in ("images_per_minute", "max_concurrency")),
                str(found["in_flight"]),
                str(found["images_last_minute"]),
                found["resumes_at"] or "",
            ]
        )
    print_table(["lane", "state", "images/min", "concurrency", "in flight", "last minute", "tried again"], rows)


@lane.command(epilog="Example: darkroom lane pause default")
def pause(name: Name = "default", url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Admit nothing more until it is resumed; what is under way goes on."""
    _say(api(url, key).call("POST", "lanes", name, "pause"), as_json)


@lane.command(epilog="Example: darkroom lane resume default")
def resume(name: Name = "default", url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Open a lane whatever paused it; it pauses again by itself where the reason stands."""
    _say(api(url, key).call("POST", "lanes", name, "resume"), as_json)


@lane.command(epilog="Example: darkroom lane limits default --images-per-minute 300 --max-concurrency configured")
def limits(
    name: Name = "default",
    images_per_minute: Limit = None,
    max_concurrency: Limit = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Change a lane's limits while it runs, or show them. A change outlives restarts until its setting changes."""
    wanted = {
        field: _number(option, text)
        for field, option, text in (
            ("images_per_minute", "--images-per-minute", images_per_minute),
            ("max_concurrency", "--max-concurrency", max_concurrency),
        )
        if text is not None
    }
    service = api(url, key)
    _say(service.call("POST", "lanes", name, "limits", body=wanted) if wanted else _find(service, name), as_json)


def _find(service: Api, name: str) -> Any:
    lanes = service.call("GET", "status")["lanes"]
    for found in lanes:
        if found["name"] == name:
            return found
    raise refused(f"there is no lane {name}; there are {', '.join(found['name'] for found in lanes) or 'none yet'}")


def _number(option: str, text: str) -> int | None:
    if text == CONFIGURED:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise refused(f"{option}: give a whole number of 1 or more, or `{CONFIGURED}`", code=2)
    return int(text)


def _say(found: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found))
        return
    now, configured = found["limits"], found["configured_limits"]
    rate = _limit(now["images_per_minute"], configured["images_per_minute"])
    concurrency = _limit(now["max_concurrency"], configured["max_concurrency"])
    typer.echo(f"{found['name']}: {_state(found)}, {rate} images a minute, {concurrency} at once")


def _state(found: Any) -> str:
    return f"{found['state']} ({found['reason']})" if found["reason"] else str(found["state"])


def _limit(now: int, configured: int) -> str:
    return str(now) if now == configured else f"{now} (configured: {configured})"
