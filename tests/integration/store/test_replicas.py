"""What replicas must have counts only once they have it: a real primary and a real replica."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from darkroom.jobs import JobRequest
from darkroom.store import scripts
from darkroom.store.attempts import Moved
from darkroom.store.scripts import NotAcknowledgedError
from deploy.embedded.valkey import EmbeddedValkey
from tests.support.stores import HOUR_MS, Store, real_store
from tests.support.valkeys import client_of, freeze, replica_of, thaw, valkey


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with valkey(tmp_path_factory.mktemp("primary")) as server:
        yield server


@pytest.fixture(scope="module")
def replica(primary: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with replica_of(primary, tmp_path_factory.mktemp("replica")) as server:
        yield server


@pytest.fixture
async def store(
    primary: EmbeddedValkey, replica: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    """Give a store that waits for its one replica, though not for long."""
    monkeypatch.setattr(scripts, "ACKNOWLEDGE_MS", 200)
    with client_of(primary) as client:
        client.flushall()
    async with real_store(primary.url) as it:
        await it.limits()
        it.jobs.scripts.acknowledge(1)
        yield it
    thaw(replica)


async def test_what_was_accepted_is_on_the_replica(store: Store, replica: EmbeddedValkey) -> None:
    ticket = await store.submitting()
    assert await store.accept(ticket, "p1") is Moved.DONE
    with client_of(replica) as client:
        assert client.hget(f"{{darkroom}}:attempt:{ticket.job_id}:1", "prediction_id") == "p1"


async def test_a_job_counts_once_the_replica_is_back(store: Store, replica: EmbeddedValkey) -> None:
    request = JobRequest(prompt="a fox")
    freeze(replica)
    for _ in range(2):
        with pytest.raises(NotAcknowledgedError, match="1 replicas must have this"):
            await store.jobs.enqueue("a", request, idempotency_key="k")
    thaw(replica)
    accepted = await store.jobs.enqueue("a", request, idempotency_key="k")
    assert accepted.replayed
    assert [record.job_id for record in await store.jobs.read_many([accepted.job_id])] == [accepted.job_id]


async def test_a_batch_counts_once_the_replica_is_back(store: Store, replica: EmbeddedValkey) -> None:
    upload: dict[str, Any] = {"webhook": None, "metadata": {}, "idempotency_key": "k", "max_queued": 10}
    batch = await store.batch({}, link=False, **upload)
    freeze(replica)
    with pytest.raises(NotAcknowledgedError):
        await store.uploads.link(batch, fingerprint="f", max_queued=10)
    with pytest.raises(NotAcknowledgedError):
        await store.uploads.begin("a", **upload)
    thaw(replica)
    assert (await store.uploads.begin("a", **upload)).batch_id == batch
    await store.batches.sweep(batch, "list")


async def test_an_intent_counts_once_the_replica_is_back(store: Store, replica: EmbeddedValkey) -> None:
    ticket = await store.admitted()

    async def begin() -> object:
        return await store.attempts.begin_submit(ticket, lease_ms=HOUR_MS, sync_lease_ms=HOUR_MS, key="k", mark="mine")

    freeze(replica)
    with pytest.raises(NotAcknowledgedError):
        await begin()
    thaw(replica)
    assert await begin() is not None
    assert (await store.read(ticket.job_id)).job["submits"] == "1"


async def test_an_id_counts_once_the_replica_is_back(store: Store, replica: EmbeddedValkey) -> None:
    ticket = await store.submitting()
    freeze(replica)
    with pytest.raises(NotAcknowledgedError):
        await store.accept(ticket, "p1")
    thaw(replica)
    assert await store.accept(ticket, "p1") is Moved.NOTHING
    assert await store.spent(ticket.job_id) == 1


async def test_nothing_else_waits_for_the_replica(store: Store, replica: EmbeddedValkey) -> None:
    ticket = await store.generating()
    freeze(replica)
    posting = [asyncio.create_task(store.jobs.enqueue("a", JobRequest(prompt="x"))) for _ in range(3)]
    await asyncio.sleep(0)
    assert (await store.read(ticket.job_id)).status == "generating"
    assert (await store.hand_over(ticket)).lease > ticket.lease
    assert not any(task.done() for task in posting)
    results = await asyncio.gather(*posting, return_exceptions=True)
    assert {type(result) for result in results} == {NotAcknowledgedError}


async def test_a_refusal_is_told_as_it_is(store: Store, replica: EmbeddedValkey) -> None:
    """What failed anyway keeps its own error: the replica's silence is not the reason."""
    freeze(replica)
    store.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Exception, match=r"OOM|memory"):
            await store.jobs.enqueue("a", JobRequest(prompt="x"))
    finally:
        store.client.config_set("maxmemory", 0)
