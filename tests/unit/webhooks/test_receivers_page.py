"""The page for receivers shows the receivers that are tested, and the figures that are in force."""

import re

import pytest

from darkroom.settings.webhooks import DEFAULT_SCHEDULE_S
from darkroom.webhooks.payload import _CUTS, MOST_BYTES
from darkroom.webhooks.sender import CONNECT_TIMEOUT_S
from tests.support.receivers import EXAMPLES
from worker.stages.notify import RESPONSE_KEPT

PAGE = (EXAMPLES.parents[1] / "docs" / "webhooks.md").read_text()


@pytest.mark.parametrize(("language", "name"), [("python", "receiver.py"), ("js", "receiver.mjs")])
def test_the_page_shows_the_example(language: str, name: str) -> None:
    [shown] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert shown == (EXAMPLES / name).read_text()


def test_the_page_tells_the_figures_in_force() -> None:
    assert DEFAULT_SCHEDULE_S == (0, 5, 300, 1800, 7200, 18000, 36000, 36000)
    text = " ".join(PAGE.split())
    assert "0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h" in text
    assert f"at most {MOST_BYTES:,} bytes" in text
    assert f"no connection within {CONNECT_TIMEOUT_S:g} s" in text
    assert f"first {RESPONSE_KEPT:,} characters" in text
    assert ", ".join(f"`{name}`" for name, _ in _CUTS) in text


def test_the_lock_names_no_registry() -> None:
    assert "resolved" not in (EXAMPLES / "package-lock.json").read_text()
