"""What is said of a Redis by what it says of itself."""

from typing import Any

import pytest

from darkroom.store.durability import persistence_warning, problem, where
from darkroom.store.room import share_used

GOOD = {
    "redis_version": "7.2.4",
    "role": "master",
    "cluster_enabled": 0,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
}


def test_a_primary_that_keeps_everything_is_fine() -> None:
    assert problem(GOOD) is None
    assert persistence_warning(GOOD, "always") is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"redis_version": "6.2.14"}, "6.2.14"),
        ({"role": "slave", "master_host": "10.0.0.7"}, "read-only replica; set the address of its primary (10.0.0.7)"),
        ({"cluster_enabled": 1}, "cluster mode off"),
        ({"maxmemory_policy": "allkeys-lfu"}, "allkeys-lfu"),
    ],
)
def test_what_can_not_be_worked_with_is_said_in_one_line(said: dict[str, Any], words: str) -> None:
    found = problem(GOOD | said)
    assert found is not None
    assert words in found
    assert "\n" not in found


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.10", "10.0"])
def test_later_versions_are_new_enough(version: str) -> None:
    assert problem(GOOD | {"redis_version": version}) is None


@pytest.mark.parametrize(
    ("said", "appendfsync", "lost"),
    [
        ({"aof_enabled": 0}, "always", "a restart of this Redis loses accepted jobs"),
        ({}, "everysec", "up to a second of accepted jobs"),
        ({}, "no", "not yet written"),
        ({}, "", "CONFIG may not be read"),
    ],
)
def test_the_warning_names_what_would_be_lost(said: dict[str, Any], appendfsync: str, lost: str) -> None:
    assert lost in (persistence_warning(GOOD | said, appendfsync) or "")


def test_the_address_is_shown_without_the_password() -> None:
    assert where("rediss://user:secret@cache.example:6380/1") == "cache.example:6380"
    assert where("unix:///run/redis.sock") == "/run/redis.sock"


def test_room_is_judged_by_what_counts_against_the_limit() -> None:
    assert share_used({"used_memory": 900, "maxmemory": 0}) == 0
    assert share_used({"used_memory": 900, "mem_not_counted_for_evict": 100, "maxmemory": 1000}) == 0.8
