"""`darkroom settings`: what is in force here, secrets hidden."""

import typer

from darkroom.cli.refusal import refusals, tell_unknown_names


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(name="settings")(show)


def show() -> None:
    """Check the settings of this environment and say what is in force; secrets are not shown."""
    from pydantic import SecretStr

    from darkroom.settings import load_settings

    with refusals():
        loaded = load_settings()
        tell_unknown_names()
    for area in (loaded.upstream, loaded.redis, loaded.service, loaded.storage, loaded.webhooks):
        for name, field in type(area).model_fields.items():
            value = getattr(area, name)
            shown = "(set)" if isinstance(value, SecretStr) else _spell(name, value)
            source = "" if name in area.model_fields_set else "  (default)"
            typer.echo(f"{field.validation_alias}={shown}{source}")


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
