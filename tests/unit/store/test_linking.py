"""A script is given what it uses of the shared part, all of it and no more."""

import pytest

from darkroom.store.linking import link
from darkroom.store.scripts import sources

LIBRARY = """-- of all
local ONE = 1 -- two
local two, three = 2, 3

-- adds four
local function four()
  return ONE + three
end
local TABLE = {
  four = four,
}
local function five() return 5 end
"""


def given(body: str) -> list[str]:
    """Give the first words of what stands before a body."""
    return [line for line in link(LIBRARY, body).removesuffix(body).splitlines() if line.startswith("local")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 0", []),
        ("return ONE", ["local ONE = 1"]),
        ("return two", ["local two, three = 2, 3"]),
        ("return four()", ["local ONE = 1", "local two, three = 2, 3", "local function four()"]),
        (
            "return TABLE.four()",
            ["local ONE = 1", "local two, three = 2, 3", "local function four()", "local TABLE = {"],
        ),
        ("return 0 -- five()", []),
        ("return fives", []),
    ],
)
def test_what_is_used_stands_before_the_body_in_its_order(body: str, expected: list[str]) -> None:
    assert given(body) == expected


def test_definitions_are_whole() -> None:
    assert link(LIBRARY, "return TABLE").endswith("local TABLE = {\n  four = four,\n}\nreturn TABLE")


def test_no_script_has_more_locals_than_lua_allows_by_far() -> None:
    for name, text in sources().items():
        assert sum(line.startswith("local ") for line in text.splitlines()) < 150, name
