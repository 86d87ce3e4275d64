"""What only a real server shows: crashes, a full memory, lost scripts and answers, and many callers at once."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.exceptions import ResponseError

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Moved
from darkroom.store.scripts import Scripts
from deploy.embedded.valkey import EmbeddedValkey
from tests.support.stores import FAILED, HOOK, HOUR_MS, Store


@pytest.fixture
def full_memory(store: Store) -> Iterator[None]:
    """Put the server at its memory limit when the test asks for it, and free it afterwards."""
    yield
    store.client.config_set("maxmemory", 0)


def fill(store: Store) -> None:
    """Leave no memory for what is not allowed to take more."""
    store.client.config_set("maxmemory", 1)


async def test_every_acknowledged_move_survives_a_crash(store: Store, valkey_server: EmbeddedValkey) -> None:
    tickets = [await store.generating(), await store.storing(max_images=2), await store.unconfirmed()]
    waiting = await store.post(webhook=HOOK, expires_in=60)
    before = store.cell().values
    valkey_server.kill()
    valkey_server.start()
    assert {name: value for name, value in store.cell().values.items() if name != keys.WAKE} == {
        name: value for name, value in before.items() if name != keys.WAKE
    }
    assert await store.jobs.cancel(waiting)
    assert await store.complete(tickets[1]) is Moved.DONE


async def test_scripts_are_loaded_again_when_the_server_has_lost_them(store: Store) -> None:
    job_id = await store.post()
    store.client.script_flush()
    assert await store.status(job_id) == "queued"
    store.client.script_flush()
    assert len(await store.jobs.read_many([job_id, job_id])) == 2


@pytest.mark.usefixtures("full_memory")
async def test_full_server_takes_no_new_work_but_loses_no_paid_one(store: Store) -> None:
    submitting, admitted = await store.submitting(webhook=HOOK), await store.admitted()
    canceled = await store.post()
    await store.jobs.cancel(canceled)
    fill(store)
    for refused in (store.post(), store.admit(), store.jobs.retry(canceled)):
        with pytest.raises(ResponseError, match=r"OOM|memory"):
            await refused
    await store.attempts.unadmit([admitted])
    assert await store.accept(submitting, "p1") is Moved.DONE
    storing = await store.hand_over(await store.ticket(submitting.job_id))
    assert await store.complete(storing) is Moved.DONE
    assert await store.status(submitting.job_id) == "completed"
    [due, *_] = (await store.sweep()).deliveries
    claimed = await store.deliveries.claim(due.delivery_id, due.lease, lease_ms=HOUR_MS)
    assert claimed is not None
    assert await store.deliveries.settle(claimed, "delivered", next_in_ms=None, attempts=[])


@pytest.mark.usefixtures("full_memory")
async def test_full_server_can_be_emptied(store: Store) -> None:
    first, second = await store.post(expires_in=60), await store.post()
    store.client.hincrby(keys.job(first), "queued_ms", -HOUR_MS)
    fill(store)
    await store.timers.expire([first])
    assert await store.jobs.cancel(second)
    assert (await store.status(first), await store.status(second)) == ("expired", "canceled")


@pytest.mark.usefixtures("full_memory")
async def test_worker_starts_at_a_full_server(store: Store) -> None:
    fill(store)
    await store.limits(rate=7)
    assert await store.lanes.pause(DEFAULT_LANE, "storage", probe_s=15)


async def test_concurrent_dispatchers_admit_each_job_once_within_the_limits(store: Store) -> None:
    await store.limits(rate=40, concurrency=25)
    for _ in range(30):
        await store.post()
    admissions = await asyncio.gather(*(store.admit(4) for _ in range(20)))
    members = [ticket.due_member for admission in admissions for ticket in admission.tickets]
    assert len(members) == len(set(members)) == 25


async def test_one_of_many_workers_gets_the_outputs_to_store(store: Store) -> None:
    ticket = await store.storing()
    claims = await asyncio.gather(*(store.attempts.claim_store(ticket, lease_ms=HOUR_MS) for _ in range(20)))
    assert sum(claim is not None for claim in claims) == 1


async def test_intent_is_written_by_one_of_many_workers(store: Store) -> None:
    ticket = await store.admitted()
    begun = await asyncio.gather(
        *(store.attempts.begin_submit(ticket, lease_ms=HOUR_MS, sync_lease_ms=HOUR_MS, key="k") for _ in range(20))
    )
    assert sum(intent is not None for intent in begun) == 1
    assert (await store.read(ticket.job_id)).job["submits"] == "1"


async def test_cancel_and_expiry_against_admission_leave_one_winner(store: Store) -> None:
    posted = [await store.post(expires_in=60) for _ in range(20)]
    for job_id in posted:
        store.client.hincrby(keys.job(job_id), "queued_ms", -HOUR_MS)
    await asyncio.gather(
        *(store.timers.expire([job_id]) for job_id in posted[::2]),
        *(store.admit(2) for _ in range(5)),
        *(store.jobs.cancel(job_id) for job_id in posted[1::4]),
    )
    states = {record.status for record in await store.jobs.read_many(posted)}
    assert states <= {"queued", "canceled", "expired"}


async def test_failing_call_does_not_disturb_its_neighbours_in_the_pipeline(store: Store) -> None:
    job_id = await store.post()
    store.client.set(keys.job("job_broken"), "no hash")
    results = await asyncio.gather(
        *(store.jobs.read(wanted) for wanted in (job_id, "job_broken", job_id, "job_none")), return_exceptions=True
    )
    store.client.delete(keys.job("job_broken"))
    assert [type(result).__name__ for result in results] == ["JobRecord", "ResponseError", "JobRecord", "NoneType"]


@pytest.mark.parametrize("state", ["submitting", "generating", "storing"])
async def test_move_repeated_after_a_lost_answer_changes_nothing(store: Store, state: str) -> None:
    ticket = await getattr(store, state)(max_images=3, webhook=HOOK)
    assert await store.attempts.failed(ticket, FAILED, created_nothing=state == "submitting") is Moved.DONE
    before = store.cell().values
    assert await store.attempts.failed(ticket, FAILED, created_nothing=state == "submitting") is Moved.STALE
    assert store.cell().values == before


async def test_days_usage_has_a_life_time_whatever_opens_the_day(store: Store) -> None:
    ticket = await store.storing()
    [usage] = [name for name in store.cell().values if ":usage:" in name]
    before, _, today = usage.rpartition(":")
    yesterday = int(today) - 1
    store.client.rename(usage, f"{before}:{yesterday}")
    days = {"charged_day": yesterday, "spent_day": yesterday}
    store.client.hset(keys.attempt(ticket.job_id, 1), mapping=days)
    await store.complete(ticket)
    assert store.client.pttl(usage) > 0


async def test_changes_are_announced_to_whoever_watches(store: Store) -> None:
    async with store.redis.pubsub() as watching:
        await watching.subscribe(keys.CHANNEL)
        assert (await watching.get_message(timeout=5))["type"] == "subscribe"
        job_id = await store.post()
        message = await watching.get_message(timeout=5, ignore_subscribe_messages=True)
        assert message["data"] == job_id


async def test_calls_of_one_connection_pool_travel_together(store: Store) -> None:
    assert Scripts.shared(store.redis) is store.jobs.scripts is store.timers.scripts
