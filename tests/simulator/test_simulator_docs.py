"""The page about the simulator names everything there is, with the defaults that hold."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from simulator.faults import KINDS
from simulator.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()


def test_every_fault_is_in_the_table_with_its_value_and_default() -> None:
    rows = {name: (value, default) for name, value, default in re.findall(r"\| `(\w+)`(?: \*)? \|(.*?)\|(.*?)\|", PAGE)}
    assert set(KINDS) <= set(rows)
    for name, kind in KINDS.items():
        value, default = rows[name]
        assert value.strip(" `") == (kind.primary or "")
        for expected in dict(kind.defaults).values():
            shown = f"{expected:g}" if isinstance(expected, float) else str(expected)
            assert default.strip(" `") == shown


def test_every_setting_is_on_the_page() -> None:
    settings = PAGE.split("## Settings")[1].split("## Control")[0]
    missing = [setting.name for setting in dataclasses.fields(Settings) if f"`{setting.name}`" not in settings]
    assert missing == []
