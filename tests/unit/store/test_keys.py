"""The keys of keys.py and those of the scripts are the same."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from lupa.lua51 import LuaRuntime  # type: ignore[import-untyped]

from darkroom.store import keys
from darkroom.store.linking import link
from darkroom.store.scripts import FOLDERS, shared_part

LIBRARY = shared_part()
BUILDERS = re.findall(r"^local function k_(\w+)\(", LIBRARY, re.MULTILINE)
CONSTANTS = re.findall(r"^local K_(\w+) =", LIBRARY, re.MULTILINE)
BUILT_INLINE = {"IDS": "ids"}
"""A key that one function alone needs, built where it does."""

NO_SCRIPTS = {"CALLBACK_KEY"}
"""Keys that no script needs."""


@pytest.fixture(scope="module")
def lua() -> Any:
    """Run the shared part of the scripts and hand out its keys."""
    runtime = LuaRuntime(unpack_returned_tuples=True)
    runtime.globals().KEYS = runtime.table(keys.ROOT)
    runtime.execute("redis = { call = function() return {'1', '0'} end }")
    exported = [f"{name} = k_{name}" for name in BUILDERS] + [f"{name} = K_{name}" for name in CONSTANTS]
    return runtime.execute(link(LIBRARY, f"return {{ {', '.join(exported)} }}"))


@pytest.mark.parametrize("name", BUILDERS)
def test_script_builds_the_same_key(lua: Any, name: str) -> None:
    ours: Callable[..., str] = getattr(keys, name)
    arguments = [
        index if parameter.annotation is int else f"{parameter.name}-é"
        for index, parameter in enumerate(inspect.signature(ours).parameters.values(), 1)
    ]
    assert lua[name](*arguments) == ours(*arguments)


@pytest.mark.parametrize("name", CONSTANTS)
def test_script_knows_the_same_name(lua: Any, name: str) -> None:
    assert lua[name] == getattr(keys, name)


def test_every_key_is_known_to_both() -> None:
    builders = {name for name, _ in inspect.getmembers(keys, inspect.isfunction)}
    constants = {name for name in vars(keys) if name.isupper()} - {"ROOT", "PERMANENT"}
    assert builders == set(BUILDERS)
    assert constants == set(CONSTANTS) | {"IDS"} | NO_SCRIPTS


def test_scripts_build_no_other_keys() -> None:
    texts = [path.read_text() for folder in FOLDERS for path in folder.glob("*.lua")]
    outside = [
        prefix
        for text in texts
        for line in text.splitlines()
        if not re.match(r"local (function k_|K_)", line)
        for prefix in re.findall(r"ROOT \.\. '([^']*)'", line)
    ]
    assert sorted(outside) == sorted(BUILT_INLINE.values())
    assert f"{keys.ROOT}ids" == keys.IDS


def test_all_keys_fit_one_node_of_a_cluster() -> None:
    assert re.fullmatch(r"\{\w+\}:", keys.ROOT)
    assert all(name.startswith(keys.ROOT) for name in keys.PERMANENT)
