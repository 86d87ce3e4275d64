"""The page for users shows code that runs, names what there is, and stays readable."""

import ast
import re
from pathlib import Path

import pytest

import darkroom.client

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_use_what_there_is(example: str) -> None:
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.ImportFrom) and node.module == "darkroom.client":
            assert {name.name for name in node.names} <= set(darkroom.client.__all__)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "darkroom":
            assert hasattr(darkroom.client.Client, node.attr), node.attr
    assert len(EXAMPLES) == 5


def test_every_error_that_is_named_exists() -> None:
    table = PAGE[PAGE.index("## What goes wrong") :]
    names = re.findall(r"`([A-Z]\w+)`", "".join(re.findall(r"^\| `.*?\|", table, re.MULTILINE)))
    assert len(names) > 10
    assert set(names) <= set(darkroom.client.__all__)


def test_lines_are_short() -> None:
    assert max(len(line) for line in PAGE.splitlines()) <= 120
