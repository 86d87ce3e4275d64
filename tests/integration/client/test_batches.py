"""Batches by both clients against the real API: uploads that break, refusals, results, retries."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.client import BatchStatus, Invalid, JobRequest, NotFound, RateLimited, Webhook
from tests.support.api import RunningApi
from tests.support.forwarder import Forwarder
from tests.support.settings import UMBRA

Make = Callable[..., Any]
FOX = {"prompt": "a fox"}


def test_a_batch_is_posted_with_all_that_goes_for_it(client: Any) -> None:
    batch = client.submit_batch(
        [JobRequest(prompt="one", custom_id="a"), {"prompt": "two", "max_images": 3}, '{"prompt": "three"}', b""],
        webhook=Webhook(url="https://example.com/hook?a=b&c=d", events=["batch.completed", "job.failed"]),
        metadata={"order": "1/2"},
        priority="low",
        expires_in=3600,
    )
    assert (batch.total, batch.counts.queued, batch.cost.images_requested) == (3, 3, 5)
    assert batch.webhook == Webhook(url="https://example.com/hook?a=b&c=d", events=["batch.completed", "job.failed"])
    assert batch.metadata == {"order": "1/2"}
    jobs = list(client.jobs(batch_id=batch.id))
    assert {(job.request.prompt, job.priority, job.request.expires_in) for job in jobs} == {
        ("one", "low", 3600),
        ("two", "low", 3600),
        ("three", "low", 3600),
    }
    assert client.batch(batch.id).id == batch.id


def test_a_file_is_posted_as_it_is(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"prompt": "a fox"}\n\n{"prompt": "a hare"}')
    batch = client.submit_batch(str(path))
    assert batch.total == 2
    client.cancel_batch(batch.id)
    assert [result.line for result in client.results(batch.id)] == [1, 3]


def test_an_upload_whose_answer_is_lost_makes_one_batch(make: Make, api: RunningApi) -> None:
    client = make(api.url, losing=1)
    batch = client.submit_batch([FOX, FOX])
    assert [one.id for one in client.batches()] == [batch.id]
    assert len(list(client.jobs())) == 2


class CutOnce:
    """Lines whose first upload loses its connection in the middle."""

    def __init__(self, cut: Callable[[], None]) -> None:
        self._cut = cut
        self.uploads = 0

    def __iter__(self) -> Iterator[dict[str, str]]:
        self.uploads += 1
        for number in range(12):
            if self.uploads == 1 and number == 9:
                self._cut()
            yield {"prompt": "x" * 9_000}


def test_an_upload_that_breaks_is_repeated_and_makes_one_batch(make: Make, api: RunningApi) -> None:
    port = int(api.url.rpartition(":")[2])
    forwarder = Forwarder(port)
    try:
        client = make(f"http://127.0.0.1:{forwarder.port}")
        client.status()
        lines = CutOnce(lambda: forwarder.switch(port))
        batch = client.submit_batch(lines)
    finally:
        forwarder.close()
    direct = make(api.url)
    assert (lines.uploads, batch.total) == (2, 12)
    assert [one.id for one in direct.batches()] == [batch.id]
    assert len(list(direct.jobs())) == 12


def test_every_wrong_line_is_named_and_nothing_is_taken(client: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        client.submit_batch([FOX, {"prompt": "x", "max_images": 99}, {"prompt": ""}])
    assert [error["loc"] for error in refusal.value.errors] == [["line", 2, "max_images"], ["line", 3, "prompt"]]
    assert list(client.batches()) == list(client.jobs()) == []
    with pytest.raises(Invalid):
        client.submit_batch([])


def test_the_good_lines_are_taken_where_that_is_wanted(client: Any) -> None:
    batch = client.submit_batch([FOX, {"prompt": "x", "max_images": 99}], on_invalid="skip")
    assert (batch.total, batch.skipped.lines) == (1, 1)
    assert batch.skipped.errors[0].loc == ["line", 2, "max_images"]


def test_the_same_key_gives_the_same_batch(client: Any) -> None:
    first = client.submit_batch([FOX], idempotency_key="mine")
    assert client.submit_batch([FOX], idempotency_key="mine").id == first.id
    with pytest.raises(Invalid, match="idempotency_mismatch"):
        client.submit_batch([FOX, FOX], idempotency_key="mine")


def test_a_refusal_reaches_who_is_still_sending(make: Make, api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.batch_lines.MOST_JOBS", 3)
    with pytest.raises(Invalid, match="too_many_lines"):
        make(api.url, retries=0).submit_batch({"prompt": "x" * 5_000} for _ in range(4_000))


def test_a_batch_that_finds_no_room_is_refused_whole(make: Make, api: RunningApi) -> None:
    client = make(api.url, retries=0)
    with pytest.raises(RateLimited) as refusal:
        client.submit_batch([FOX] * 21)
    assert refusal.value.code == "line_full"
    assert list(client.jobs()) == []


def test_a_batch_is_canceled_read_and_goes_on_by_a_retry(client: Any) -> None:
    batch = client.submit_batch([FOX | {"custom_id": "a"}, FOX, FOX | {"custom_id": "c"}])
    assert list(client.results(batch.id)) == []
    assert client.cancel_batch(batch.id).status is BatchStatus.CANCELED
    assert client.wait_batch(batch.id).counts.canceled == 3
    assert [(one.line, one.custom_id, one.job.status) for one in client.results(batch.id)] == [
        (1, "a", "canceled"),
        (2, None, "canceled"),
        (3, "c", "canceled"),
    ]
    assert [one.line for one in client.results(batch.id, after=2)] == [3]
    assert client.retry_batch(batch.id).retried.new_attempts == 0
    retry = client.retry_batch(batch.id, include=["canceled"])
    assert (retry.retried.new_attempts, retry.cost.estimated, retry.batch.status) == (3, 0.12, "running")


def test_a_cancel_whose_answer_is_lost_gives_the_batch(make: Make, api: RunningApi, client: Any) -> None:
    batch = client.submit_batch([FOX])
    assert make(api.url, losing=1).cancel_batch(batch.id).status is BatchStatus.CANCELED


def test_batches_are_listed_over_all_pages(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("blocking", "awaiting"):
        monkeypatch.setattr(f"darkroom.client.{module}.MOST_PAGE", 2)
    ids = {client.submit_batch([FOX]).id for _ in range(5)}
    assert {batch.id for batch in client.batches()} == ids
    assert len(list(client.batches(limit=3))) == 3


def test_another_tenants_batch_is_not_found(make: Make, api: RunningApi, client: Any) -> None:
    batch = client.submit_batch([FOX])
    other = make(api.url, UMBRA)
    for call in (other.batch, other.cancel_batch, other.retry_batch, lambda one: list(other.results(one))):
        with pytest.raises(NotFound):
            call(batch.id)
    with pytest.raises(NotFound):
        client.batch("batch_01J00000000000000000000000")
