"""The store on a real Valkey; every test leaves it whole and mortal."""

from collections.abc import AsyncIterator

import pytest

from tests.support.conservation import broken_rules
from tests.support.lifetimes import immortal_keys
from tests.support.stores import Store, real_store


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """Give an empty store with one open lane."""
    async with real_store(redis_url) as it:
        await it.limits()
        yield it


@pytest.fixture(autouse=True)
async def whole_and_mortal(store: Store) -> AsyncIterator[None]:
    """Fail a test that leaves something lost, leaked or without a life-time."""
    yield
    cell = store.cell()
    assert broken_rules(cell) == []
    assert immortal_keys(cell) == []
