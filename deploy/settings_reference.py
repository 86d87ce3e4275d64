"""Writes `docs/settings.md` and `.env.example` from the settings classes: `python -m deploy.settings_reference`."""

import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from darkroom.settings import AREAS
from darkroom.settings.base import AreaSettings

ROOT = Path(__file__).parents[1]
MADE_BY = "Made by `make settings` from `darkroom/settings/`"


def reference() -> str:
    """Return the text of `docs/settings.md`."""
    parts = [
        "# Settings",
        "",
        f"{MADE_BY}; a test keeps it up to date.",
        "",
        "Read from the environment, then from `.env` in the working directory. An empty value counts as unset.",
        "A wrong one stops the process at once with a line that names it; `darkroom settings` checks them all and says",
        "what is in force.",
        "",
    ]
    for area in AREAS:
        parts += [f"## {_title(area)}", "", (area.__doc__ or "").strip(), ""]
        parts += ["| variable | value | default | |", "| --- | --- | --- | --- |"]
        parts += [
            f"| `{variable}` | {_values(field)} | {_default_cell(field)} | {_cell(field.description or '')} |"
            for variable, field in _fields(area)
        ]
        parts.append("")
    return "\n".join(parts)


def example() -> str:
    """Return the text of `.env.example`: every variable, commented out, with its default."""
    parts = [f"# {MADE_BY}; copy to .env and uncomment what you need.".replace("`", "")]
    for area in AREAS:
        parts += ["", f"# {_title(area)}"]
        for variable, field in _fields(area):
            parts += [f"# {field.description}".replace("`", ""), f"#{variable}={_default(field)}"]
    return "\n".join(parts) + "\n"


FILES = {ROOT / "docs" / "settings.md": reference, ROOT / ".env.example": example}


def main() -> None:
    """Write both files; with `--check` only say which are out of date and exit with 1 if any is."""
    stale = [path for path, text in FILES.items() if not path.exists() or path.read_text() != text()]
    for path in stale:
        name = path.relative_to(ROOT)
        if "--check" in sys.argv[1:]:
            print(f"{name} is out of date: make settings")
        else:
            path.write_text(FILES[path]())
            print(f"{name} written")
    if stale and "--check" in sys.argv[1:]:
        sys.exit(1)


def _fields(area: type[AreaSettings]) -> Iterator[tuple[str, FieldInfo]]:
    for field in area.model_fields.values():
        yield str(field.validation_alias), field


def _title(area: type[AreaSettings]) -> str:
    return area.__name__.removesuffix("Settings")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(_plain(part) for part in value)
    return _plain(value)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default_cell(field: FieldInfo) -> str:
    default = _default(field)
    return f"`{default}`" if default else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _values(field: FieldInfo) -> str:
    """Return what the variable may hold, in words."""
    return _kind(field.annotation) + _range(field)


def _kind(annotation: Any) -> str:
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    origin = get_origin(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{choice}`" for choice in arguments)
    if origin in (list, tuple):
        return f"{_kind(arguments[0])}, …"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(argument) for argument in arguments))
    words = {int: "integer", float: "number", Decimal: "number", str: "text", Path: "path", SecretStr: "secret"}
    words |= {IPv4Network: "CIDR", IPv6Network: "CIDR"}
    return words[annotation]


def _range(field: FieldInfo) -> str:
    bounds = dict(re.findall(r"\b([gl]e)=([\d.]+)", repr(field.metadata)))
    if "ge" in bounds and "le" in bounds:
        return f", {bounds['ge']} to {bounds['le']}"
    if "ge" in bounds:
        return f", at least {bounds['ge']}"
    return ""


if __name__ == "__main__":
    main()
