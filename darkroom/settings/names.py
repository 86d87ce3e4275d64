"""Names in the environment that look like settings and are none: most likely misspelt."""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from dotenv import dotenv_values

from darkroom.settings.base import AreaSettings

PREFIXES = ("DARKROOM_", "WAVESPEED_")
NOT_SETTINGS = frozenset({"DARKROOM_SIMULATOR_URL", "DARKROOM_VERSION", "DARKROOM_WORKERS", "DARKROOM_CHECKPOINTS_DIR"})
"""What compose, the image's entrypoint and the chaos tests read."""

CLIENTS = frozenset({"DARKROOM_URL", "DARKROOM_API_KEY"})
"""What the client reads; it may stand in the same `.env`."""


def unknown_names(areas: Iterable[type[AreaSettings]], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Give a line for each variable of the environment and `.env` that no area reads, with the name it resembles."""
    known = {str(field.validation_alias) for area in areas for field in area.model_fields.values()} | NOT_SETTINGS
    there = {*environ, *dotenv_values(".env")} - CLIENTS
    lines = []
    for name in sorted(there - known):
        if name.startswith(PREFIXES) and not name.startswith("DARKROOM_PROPERTY_"):
            like = get_close_matches(name, known, n=1, cutoff=0.8)
            lines.append(f"{name}: no such setting, it is not used" + (f"; did you mean {like[0]}?" if like else ""))
    return lines
