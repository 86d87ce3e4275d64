"""Who is called for in vain: the scripts note it, and what is noted is judged."""

import time
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.line.progress import CALL_LASTS_MS, look_at_progress, stuck_stages
from darkroom.store import keys
from tests.support.stores import HOOK, HOUR_MS, Store

MINUTE_MS = 60_000


def calls(store: Store) -> dict[str, int]:
    return {name: int(at_ms) for name, at_ms in store.cell().at(keys.PROGRESS).items()}


def stuck(store: Store, *, ago_ms: int = 2 * MINUTE_MS) -> set[str]:
    """Name the stages that are stuck although they were called for again just now, the first time so long ago."""
    noted = {name: at_ms - ago_ms * name.endswith("_called_ms") for name, at_ms in calls(store).items()}
    depth = int(store.cell().at(keys.DEPTH).get("*|jobs", 0))
    return set(stuck_stages(noted, depth=depth, admitting=True, now_ms=time.time_ns() // 1_000_000))


async def test_an_admitted_job_calls_for_its_submit_until_it_begins(store: Store) -> None:
    ticket = await store.admitted()
    assert stuck(store) == {"submit"}
    await store.begin(ticket)
    assert stuck(store) == set()


async def test_jobs_that_are_put_back_for_ever_call_since_the_first_time(store: Store) -> None:
    ticket = await store.admitted()
    first = calls(store)["submit_called_ms"]
    for _ in range(3):
        await store.attempts.unadmit([ticket])
        [ticket] = (await store.admit()).tickets
    assert calls(store)["submit_called_ms"] == first


async def test_a_call_that_nobody_repeats_says_nothing(store: Store) -> None:
    """The job was canceled before it was sent; an hour later another one is admitted."""
    ticket = await store.admitted()
    await store.jobs.cancel(ticket.job_id)
    store.client.hincrby(keys.PROGRESS, "submit_called_ms", -HOUR_MS)
    store.client.hincrby(keys.PROGRESS, "submit_last_ms", -HOUR_MS)
    noted = calls(store)
    now_ms = noted["submit_last_ms"] + CALL_LASTS_MS["submit"] + 1
    assert stuck_stages(noted, depth=0, admitting=True, now_ms=now_ms) == {}
    await store.admitted()
    assert calls(store)["submit_called_ms"] > noted["submit_called_ms"] + HOUR_MS / 2


async def test_a_paused_lane_takes_the_call_back_with_the_job(store: Store) -> None:
    ticket = await store.admitted()
    await store.lanes.pause(DEFAULT_LANE, "operator")
    assert await store.attempts.begin_submit(ticket, lease_ms=1, sync_lease_ms=1, key="k") is None
    assert "submit_called_ms" not in calls(store)


async def test_outputs_call_for_their_copy_until_it_begins(store: Store) -> None:
    ticket = await store.storing()
    assert stuck(store) == {"store"}
    assert await store.attempts.claim_store(ticket, lease_ms=HOUR_MS) is not None
    assert stuck(store) == set()


async def test_a_worker_without_room_for_a_copy_has_consumed_its_message(store: Store) -> None:
    await store.attempts.bring_back(await store.storing(), delay_ms=1)
    assert stuck(store) == set()


async def test_outputs_whose_message_is_sent_again_go_on_calling(store: Store) -> None:
    ticket = await store.storing()
    store.client.hdel(keys.PROGRESS, "store_called_ms", "store_last_ms")
    await store.sweep(ticket.due_member)
    assert stuck(store) == {"store"}


async def test_a_webhook_calls_for_its_attempt_until_it_begins(store: Store) -> None:
    await store.complete(await store.storing(webhook=HOOK))
    store.client.delete(keys.PROGRESS)
    [due] = (await store.sweep()).deliveries
    assert stuck(store) == {"notify"}
    assert await store.deliveries.claim(due.delivery_id, due.lease, lease_ms=HOUR_MS) is not None
    assert stuck(store) == set()


async def test_a_line_calls_for_dispatch_from_the_first_job_on_and_every_run_answers(store: Store) -> None:
    await store.post()
    store.client.hincrby(keys.PROGRESS, "dispatch_called_ms", -HOUR_MS)
    await store.post()
    assert stuck(store) == {"dispatch"}
    await store.limits(concurrency=1)
    await store.admit()
    assert stuck(store, ago_ms=0) == set()
    long_ago = store.client.hincrby(keys.PROGRESS, "dispatch_called_ms", -HOUR_MS)
    assert (await store.admit()).reason == "slots"
    assert calls(store)["dispatch_called_ms"] > long_ago + HOUR_MS / 2


async def test_a_line_that_was_empty_for_long_calls_anew(store: Store) -> None:
    await store.jobs.cancel(await store.post())
    store.client.hincrby(keys.PROGRESS, "dispatch_called_ms", -HOUR_MS)
    assert stuck(store) == set()
    await store.post()
    assert stuck(store, ago_ms=0) == set()


@pytest.mark.parametrize("admitting", [True, False])
def test_what_is_not_admitted_on_purpose_is_not_stuck(admitting: bool) -> None:
    noted = {f"{stage}_{kind}_ms": 0 for stage in ("dispatch", "submit", "store") for kind in ("called", "last")}
    found = stuck_stages(noted, depth=9, admitting=admitting, now_ms=95_000)
    assert set(found) == ({"dispatch", "store"} if admitting else {"store"})


async def test_what_is_stuck_is_said_with_where_to_look(store: Store) -> None:
    await store.admitted()
    store.client.hincrby(keys.PROGRESS, "submit_called_ms", -MINUTE_MS)
    sign: dict[str, Any] = {"alive_at_ms": 10**15, "queues": ["dispatch"], "serves": ["dispatch", "submit"]}
    await store.lanes.sign_of_life("w@h", sign, forget_after_s=60)
    if isinstance(store.redis, FakeAsyncRedis):
        return  # which has no INFO
    found = await look_at_progress(store.redis)
    assert found.stuck == {"submit": "submit: admitted jobs are not sent for 60 s; no worker consumes the queue submit"}
    assert found.signs[0].serves == ("dispatch", "submit")
