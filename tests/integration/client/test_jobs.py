"""The clients' calls against the real API, jobs being moved by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from darkroom.client import (
    Conflict,
    ConnectionFailed,
    Invalid,
    JobStatus,
    NotFound,
    RateLimited,
    Unauthorized,
    WaitTimeout,
    Webhook,
)
from tests.support.api import RunningApi
from tests.support.by_hand import ByHand
from tests.support.forwarder import Forwarder
from tests.support.settings import ACME, UMBRA
from tests.support.waiting import wait_until

Make = Callable[..., Any]
MOST_QUEUED = 20


def test_a_job_is_posted_with_all_that_it_may_say(client: Any) -> None:
    job = client.submit(
        "a fox in four panels",
        size="2048x2048",
        max_images=4,
        enable_base64_output=False,
        enable_sync_mode=False,
        webhook=Webhook(url="https://example.com/hook", events=["job.completed"]),
        metadata={"order": "1234"},
        priority="high",
        expires_in=3600,
        custom_id="panel-17",
    )
    assert job.status is JobStatus.QUEUED
    assert job.request.size == "2048*2048"
    assert job.request.webhook == Webhook(url="https://example.com/hook", events=["job.completed"])
    assert (job.metadata, job.priority, job.custom_id) == ({"order": "1234"}, "high", "panel-17")
    assert client.job(job.id).request == job.request


@pytest.mark.parametrize("webhook", ["https://example.com/hook", {"url": "https://example.com/hook"}])
def test_a_webhook_may_be_just_its_url(client: Any, webhook: Any) -> None:
    assert client.submit("a fox", webhook=webhook).request.webhook == Webhook(url="https://example.com/hook")


def test_a_submit_whose_answer_is_lost_makes_one_job(make: Make, api: RunningApi) -> None:
    client = make(api.url, losing=1)
    job = client.submit("a fox")
    assert [one.id for one in client.jobs()] == [job.id]


def test_the_same_key_gives_the_same_job(client: Any) -> None:
    first = client.submit("a fox", idempotency_key="mine")
    assert client.submit("a fox", idempotency_key="mine").id == first.id
    with pytest.raises(Invalid, match="idempotency_mismatch"):
        client.submit("a hare", idempotency_key="mine")


def test_wrong_fields_are_named(client: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        client.submit("a fox", max_images=16, size="1*1")
    assert {tuple(error["loc"]) for error in refusal.value.errors} == {("body", "max_images"), ("body", "size")}


def test_another_tenants_job_is_not_found(make: Make, api: RunningApi, client: Any) -> None:
    job = client.submit("a fox")
    with pytest.raises(NotFound):
        make(api.url, UMBRA).job(job.id)
    with pytest.raises(Unauthorized):
        make(api.url, "wrong").job(job.id)


def test_jobs_are_listed_over_all_pages(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("blocking", "awaiting"):
        monkeypatch.setattr(f"darkroom.client.{module}.MOST_PAGE", 3)
    ids = [client.submit("a fox", metadata={"odd": str(number % 2)}).id for number in range(8)]
    assert [job.id for job in client.jobs()] == ids[::-1]
    assert [job.id for job in client.jobs(limit=5)] == ids[:2:-1]
    assert list(client.jobs(limit=0)) == []
    assert [job.id for job in client.jobs(metadata={"odd": "1"}, status="queued")] == ids[::-2]
    assert list(client.jobs(status=JobStatus.COMPLETED)) == []
    made = client.job(ids[4]).created_at
    assert ids[4] in [job.id for job in client.jobs(created_after=made)]
    assert ids[4] not in [job.id for job in client.jobs(created_before=made)]
    assert list(client.jobs(custom_id="none")) == []
    with pytest.raises(Invalid, match="batch_id"):
        list(client.jobs(batch_id="none"))


def test_a_job_is_canceled_and_goes_on_by_a_retry(client: Any) -> None:
    job = client.submit("a fox")
    assert client.cancel(job.id).status is JobStatus.CANCELED
    assert client.cancel(job.id).status is JobStatus.CANCELED
    assert client.retry(job.id, fresh=True).status is JobStatus.QUEUED
    with pytest.raises(Conflict) as refusal:
        client.retry(job.id)
    assert refusal.value.code == "not_retryable"


def test_a_cancel_whose_answer_is_lost_gives_the_canceled_job(make: Make, api: RunningApi, client: Any) -> None:
    job = client.submit("a fox")
    assert make(api.url, losing=1).cancel(job.id).status is JobStatus.CANCELED


def test_a_retry_whose_answer_is_lost_is_not_sent_again(make: Make, api: RunningApi, client: Any) -> None:
    job = client.submit("a fox")
    client.cancel(job.id)
    with pytest.raises(ConnectionFailed) as failure:
        make(api.url, losing=1).retry(job.id, fresh=True)
    assert failure.value.connected
    assert client.job(job.id).status is JobStatus.QUEUED


def test_a_wait_ends_with_the_job_or_with_its_time(client: Any, by_hand: ByHand) -> None:
    job = client.submit("a fox")
    with pytest.raises(WaitTimeout):
        client.wait(job, timeout_s=0.05)
    by_hand.generate(job.id)
    by_hand.fail(job.id)
    done = client.wait(job.id)
    assert done.status is JobStatus.FAILED
    assert done.error.code == "upstream_failed"


def test_events_are_told_once_each_although_the_connection_breaks(make: Make, api: RunningApi, by_hand: ByHand) -> None:
    port = int(api.url.rpartition(":")[2])
    forwarder = Forwarder(port)
    try:
        client = make(f"http://127.0.0.1:{forwarder.port}")
        job = client.submit("a fox")
        events = client.events(job.id)
        seen = [next(events)]
        forwarder.switch(port)  # cuts every connection
        by_hand.generate(job.id)
        seen.append(next(events))
        by_hand.cancel(job.id)
        forwarder.switch(port)
        seen += events
    finally:
        forwarder.close()
    assert [change.status for change in seen] == ["queued", "submitting", "generating", "canceled"]
    assert len({change.id for change in seen}) == 4
    assert {change.attempt for change in seen} == {1}
    assert [change.status for change in client_events_after(make, api, job.id, seen[1].id)] == [
        "generating",
        "canceled",
    ]
    assert client_events_after(make, api, job.id, seen[3].id) == []


def client_events_after(make: Make, api: RunningApi, job_id: str, event_id: str) -> list[Any]:
    return list(make(api.url).events(job_id, last_event_id=event_id))


def test_events_of_no_job_are_refused(client: Any) -> None:
    with pytest.raises(NotFound):
        list(client.events("job_01J00000000000000000000000"))


def test_who_leaves_the_events_early_leaves_no_watch(client: Any, api: RunningApi) -> None:
    events = client.events(client.submit("a fox").id)
    next(events)
    events.close()
    wait_until(lambda: api.watches == 0, what="the API to notice that nobody listens")


def test_an_api_that_is_not_there_is_said_to_be(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.client.steps.FIRST_PAUSE_S", 0.01)
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9 .*Connect") as failure:
        make("http://127.0.0.1:9", retries=2).submit("a fox")
    assert not failure.value.connected
    assert ACME not in str(failure.value)


def test_a_full_line_is_told_apart(make: Make, api: RunningApi) -> None:
    client = make(api.url, retries=0)
    for _ in range(MOST_QUEUED):
        client.submit("a fox")
    with pytest.raises(RateLimited) as refusal:
        client.submit("a fox")
    assert refusal.value.code == "line_full"
    assert refusal.value.retry_after_s


def test_usage_and_status_are_read(client: Any) -> None:
    client.submit("a fox", max_images=2)
    assert client.usage()["currency"] == "USD"
    assert client.status()["line"]["depth"] == 1
