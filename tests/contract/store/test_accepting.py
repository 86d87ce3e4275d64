"""Accepting jobs: all or nothing, once per key, within the tenant's room, whatever the request says."""

import pytest

from darkroom.jobs import JobRequest, Webhook
from darkroom.store import keys
from darkroom.store.jobs import ConflictError, LineFullError
from darkroom.store.scripts import Scripts
from darkroom.store.view import job_view
from tests.support.stores import Store


async def test_accepted_job_waits_with_its_request_and_first_event(store: Store) -> None:
    job_id = await store.post(max_images=3, metadata={"order": 'ü/\\"\n'}, priority="high", prompt="Fuchs 🦊 \u0001")
    view = job_view(await store.read(job_id))
    assert (view["status"], view["queue_position"], view["attempt"], view["submits"]) == ("queued", 1, 1, 0)
    assert view["request"]["prompt"] == "Fuchs 🦊 \u0001"
    assert view["metadata"] == {"order": 'ü/\\"\n'}
    assert view["cost"]["spent"] == 0
    assert view["cost"]["estimated"] == 0.12


@pytest.mark.parametrize("max_images", [1, 15])
async def test_record_given_with_the_acceptance_shows_what_reading_shows(store: Store, max_images: int) -> None:
    await store.post()
    request = JobRequest(prompt="ü", max_images=max_images, webhook=Webhook(url="https://e.com"), expires_in=60)
    accepted = await store.jobs.enqueue("a", request)
    assert accepted.record is not None
    assert job_view(accepted.record) == job_view(await store.read(accepted.job_id))


async def test_request_that_names_no_events_shows_them_as_null(store: Store) -> None:
    job_id = await store.post(webhook={"url": "https://example.com/hook"})
    assert "events" not in (await store.read(job_id)).job["request"]
    assert job_view(await store.read(job_id))["request"]["webhook"] == {
        "url": "https://example.com/hook",
        "events": None,
    }


async def test_same_key_and_body_give_the_first_job(store: Store) -> None:
    first = await store.jobs.enqueue("a", JobRequest(prompt="x"), idempotency_key="k")
    again = await store.jobs.enqueue("a", JobRequest(prompt="x", size="2048x2048"), idempotency_key="k")
    assert (again.job_id, again.replayed) == (first.job_id, True)
    assert len(store.cell().jobs) == 1


async def test_same_key_with_another_body_is_refused(store: Store) -> None:
    await store.jobs.enqueue("a", JobRequest(prompt="x"), idempotency_key="k")
    with pytest.raises(ConflictError) as refused:
        await store.jobs.enqueue("a", JobRequest(prompt="y"), idempotency_key="k")
    assert refused.value.code == "idempotency_mismatch"


async def test_keys_of_tenants_are_their_own(store: Store) -> None:
    first = await store.jobs.enqueue("a", JobRequest(prompt="x"), idempotency_key="k")
    other = await store.jobs.enqueue("b", JobRequest(prompt="y"), idempotency_key="k")
    assert first.job_id != other.job_id


async def test_key_lives_at_least_a_day(store: Store) -> None:
    await store.jobs.enqueue("a", JobRequest(prompt="x"), idempotency_key="k")
    [life_ms] = [ttl for name, ttl in store.cell().ttl_ms.items() if ":idem:" in name]
    assert life_ms >= 24 * 3_600_000


async def test_key_outlives_a_job_whose_time_is_over(store: Store) -> None:
    first = await store.jobs.enqueue("a", JobRequest(prompt="x"), idempotency_key="k")
    await store.jobs.cancel(first.job_id)
    store.let_expire(first.job_id)
    again = await store.jobs.enqueue("a", JobRequest(prompt="x"), idempotency_key="k")
    assert (again.job_id, again.replayed) == (first.job_id, True)
    await store.trim()


@pytest.mark.parametrize("key", ["", "key-hash"])
async def test_enqueue_repeated_after_a_lost_answer_is_no_second_job_and_no_replay(store: Store, key: str) -> None:
    call = ("enqueue", "job_1", "a", 2, "normal", '{"prompt":"x"}', 0, key, "body", 1000, 10, 1000)
    scripts = Scripts(store.redis)
    assert (await scripts.call(*call))[0] == (await scripts.call(*call))[0] == 1
    assert store.cell().at(keys.DEPTH) == {"a|normal": "1", "a|images": "2", "*|jobs": "1", "*|images": "2"}


async def test_full_line_of_one_tenant_takes_no_more_but_others_do(store: Store) -> None:
    for priority in ("low", "normal"):
        await store.post(priority=priority)
    with pytest.raises(LineFullError):
        await store.jobs.enqueue("a", JobRequest(prompt="x"), max_queued=2)
    await store.jobs.enqueue("b", JobRequest(prompt="x"), max_queued=2)


async def test_places_are_counted_within_tenant_and_priority(store: Store) -> None:
    await store.post("b")
    await store.post("a", priority="high")
    first, second = await store.post("a"), await store.post("a")
    assert ((await store.read(first)).place, (await store.read(second)).place) == (1, 2)


@pytest.mark.parametrize("tenant", ["A-1_b", "ünï", "0"])
async def test_tenants_with_odd_names_go_the_whole_way(store: Store, tenant: str) -> None:
    job_id = (await store.storing(tenant, webhook={"url": "https://example.com"})).job_id
    await store.complete(await store.ticket(job_id))
    assert await store.status(job_id) == "completed"


async def test_record_keeps_only_what_differs_from_the_defaults(store: Store) -> None:
    job_id = (
        await store.jobs.enqueue(
            "a", JobRequest(prompt="x", max_images=1, webhook=Webhook(url="https://e.com", events=["job.failed"]))
        )
    ).job_id
    assert (await store.read(job_id)).request == {
        "prompt": "x",
        "webhook": {"url": "https://e.com", "events": ["job.failed"]},
    }
