"""`darkroom settings`: what is in force here, secrets hidden."""

import json

import typer

from darkroom.cli.connection import AsJson
from darkroom.cli.refusal import refusals, tell_unknown_names


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(name="settings", epilog="Example: darkroom settings --json")(show)


def show(as_json: AsJson = False) -> None:
    """Check the settings of this environment and say what is in force; secrets are not shown."""
    from pydantic import SecretStr

    from darkroom.settings import load_settings

    with refusals():
        loaded = load_settings()
        tell_unknown_names()
    found: dict[str, dict[str, str | bool]] = {}
    for area in (loaded.upstream, loaded.redis, loaded.service, loaded.storage, loaded.webhooks):
        for name, field in type(area).model_fields.items():
            value = getattr(area, name)
            shown = "(set)" if isinstance(value, SecretStr) else _spell(name, value)
            found[str(field.validation_alias)] = {"value": shown, "default": name not in area.model_fields_set}
    if as_json:
        typer.echo(json.dumps(found))
        return
    for variable, said in found.items():
        typer.echo(f"{variable}={said['value']}{'  (default)' if said['default'] else ''}")


def _spell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(str(part) for part in value)
    text = str(value)
    return _without_password(text) if name.endswith(("url", "url_override")) else text


def _without_password(url: str) -> str:
    """Hide the user info of a URL."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    userinfo, at, host = authority.rpartition("@")
    return f"{scheme}{separator}{'***' if userinfo else ''}{at}{host}{slash}{path}"
