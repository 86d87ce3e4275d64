"""The same store on fakeredis and on a real Valkey; every test leaves it whole and mortal."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.conservation import broken_rules
from tests.support.lifetimes import immortal_keys
from tests.support.stores import Store, fake_store, real_store


@pytest.fixture(params=["fakeredis", "valkey"])
async def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """Give an empty store with one open lane; afterwards nothing may be lost, leaked or immortal."""
    opened: Any
    if request.param == "fakeredis":
        opened = fake_store(monkeypatch.setattr)
    else:
        opened = real_store(request.getfixturevalue("redis_url"))
    async with opened as it:
        await it.limits()
        yield it
        cell = it.cell()
        assert broken_rules(cell) == []
        assert immortal_keys(cell) == []
