"""Records and tickets as they are read back, and how they look from outside."""

from datetime import UTC, datetime

import pytest

from darkroom.ids import new_id
from darkroom.jobs import JobRequest
from darkroom.store.attempts import Ticket
from darkroom.store.records import JobRecord, pairs, status_changes
from darkroom.store.view import REQUEST_DEFAULTS, WEBHOOK_DEFAULTS, iso, job_view, request_view

JOB = {
    "tenant": "a",
    "status": "failed",
    "attempt": "2",
    "images": "3",
    "priority": "normal",
    "request": '{"prompt":"x"}',
}
OUTPUT = '{"index":%d,"key":"k%d","bucket":"b"}'


def record(job: dict[str, str] | None = None, attempt: dict[str, str] | None = None, **rest: object) -> JobRecord:
    return JobRecord(new_id("job"), JOB | (job or {}), attempt or {}, **rest)  # type: ignore[arg-type]


def test_ticket_survives_its_message() -> None:
    ticket = Ticket("job_1", 2, 3)
    assert Ticket.from_message(ticket.to_message()) == ticket


@pytest.mark.parametrize("raw", [[], ["job_1", 1], ["job_1", "x", 1], ["job_1", 1, 2, 3]])
def test_broken_ticket_is_refused(raw: list[str | int]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Ticket.from_message(raw)


def test_flat_reply_of_odd_length_is_refused() -> None:
    assert pairs(["a", "1"]) == {"a": "1"}
    with pytest.raises(ValueError, match="shorter"):
        pairs(["a"])


def test_history_is_read_in_order() -> None:
    changes = status_changes({"events": "1-9,queued,5;2-10,submitting,6;"})
    assert [(change.attempt, change.sequence, change.status, change.at_ms) for change in changes] == [
        (1, 9, "queued", 5),
        (2, 10, "submitting", 6),
    ]
    assert status_changes({}) == []


def test_snapshot_without_attempt_and_late_outputs_is_read() -> None:
    """So cjson writes empty tables, and so events of the release before are."""
    for text in ('{"job":["a","1"],"attempt":{},"late":{}}', '{"job":["a","1"],"attempt":{}}'):
        read = JobRecord.from_snapshot("job_1", text)
        assert (read.job, read.attempt, read.late) == ({"a": "1"}, {}, {})


def test_defaults_of_the_view_are_those_of_the_request() -> None:
    shown = request_view({"prompt": "x", "webhook": {"url": "https://e.com"}})
    parsed = JobRequest.model_validate({"prompt": "x", "webhook": {"url": "https://e.com"}})
    assert shown == parsed.model_dump(mode="json")
    assert set(REQUEST_DEFAULTS) == set(JobRequest.model_fields)
    assert set(WEBHOOK_DEFAULTS) == {"url", "events"}


def test_outputs_are_shown_by_index_with_fresh_addresses() -> None:
    attempt = {f"out:{index}": OUTPUT % (index, index) for index in (10, 2, 0)}
    until = datetime(2030, 1, 1, tzinfo=UTC)
    view = job_view(record({"status": "completed"}, attempt), url_for=lambda key: (f"https://s/{key}", until))
    assert [output["index"] for output in view["outputs"]] == [0, 2, 10]
    assert view["outputs"][1]["url"] == "https://s/k2"
    assert view["outputs"][1]["url_expires_at"] == "2030-01-01T00:00:00.000Z"
    assert view["cost"]["images_delivered"] == 3


@pytest.mark.parametrize("status", ["queued", "submitting", "generating", "storing", "canceled", "expired"])
def test_outputs_are_not_told_of_before_the_job_is_complete(status: str) -> None:
    assert job_view(record({"status": status}, {"out:0": OUTPUT % (0, 0)}))["outputs"] == []


def test_late_outputs_stand_apart_and_name_their_attempt() -> None:
    late = {1: {"out:0": OUTPUT % (0, 0)}, 2: {"out:1": OUTPUT % (1, 1)}}
    view = job_view(record(attempt={"out:1": OUTPUT % (1, 1)}, late=late))
    assert (view["outputs"], [(o["attempt"], o["index"]) for o in view["late_outputs"]]) == ([], [(1, 0), (2, 1)])


def test_money_is_shown_to_the_cent() -> None:
    cost = job_view(record({"images": "15", "spent_images": "45"}))["cost"]
    assert (cost["estimated"], cost["spent"], cost["images_requested"]) == (0.6, 1.8, 15)


def test_times_are_utc_with_milliseconds() -> None:
    assert iso("1700000000123") == "2023-11-14T22:13:20.123Z"
    assert iso(None) is None
