"""Records and tickets as they are read back, and how they look from outside."""

from datetime import UTC, datetime

import pytest

from darkroom.ids import new_id
from darkroom.jobs import Job, JobRequest
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
    for text in ('{"job":["a","1"],"attempt":{},"late":{},"earlier":{}}', '{"job":["a","1"],"attempt":{}}'):
        read = JobRecord.from_snapshot("job_1", text)
        assert (read.job, read.attempt, read.late, read.earlier) == ({"a": "1"}, {}, {}, {})


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


FAILURE = '{"code":"upstream_failed","message":"%s","retryable":true,"upstream":{"code":5000}}'


def test_every_attempt_is_shown_with_what_it_cost() -> None:
    first = {"state": "failed", "prediction_id": "p1", "sends": "2", "spent_images": "3", "submitted_ms": "1000"}
    first |= {"ended_ms": "5000", "error": FAILURE % ("x" * 400)}
    second = {"state": "generating", "prediction_id": "p2", "sends": "1", "spent_images": "3", "submitted_ms": "6000"}
    job = {"status": "generating", "spent_images": "6", "submits": "3"}
    view = job_view(record(job, second, earlier={1: first}))
    Job.model_validate(view | {"request": view["request"] | {"prompt": "x"}})
    assert view["attempts"] == [
        {
            "attempt": 1,
            "status": "failed",
            "prediction_id": "p1",
            "submits": 2,
            "spent": 0.12,
            "submitted_at": "1970-01-01T00:00:01.000Z",
            "finished_at": "1970-01-01T00:00:05.000Z",
            "error": {"code": "upstream_failed", "message": "x" * 119 + "…"},
        },
        {
            "attempt": 2,
            "status": "generating",
            "prediction_id": "p2",
            "submits": 1,
            "spent": 0.12,
            "submitted_at": "1970-01-01T00:00:06.000Z",
            "finished_at": None,
            "error": None,
        },
    ]
    assert sum(item["spent"] for item in view["attempts"]) == view["cost"]["spent"]
    assert sum(item["submits"] for item in view["attempts"]) == view["submits"]


@pytest.mark.parametrize(
    ("status", "state", "shown"),
    [
        ("queued", "", "queued"),
        ("queued", "admitted", "queued"),
        ("unconfirmed", "unconfirmed", "unconfirmed"),
        ("canceled", "", "canceled"),
        ("expired", "queued", "expired"),
        ("canceled", "generating", "generating"),
        ("failed", "done", "completed"),
    ],
)
def test_attempt_that_was_never_sent_ended_as_its_job_did(status: str, state: str, shown: str) -> None:
    job = {"status": status, "attempt": "1", "finished_ms": "9000"}
    [attempt] = job_view(record(job, {"state": state} if state else {}))["attempts"]
    assert (attempt["status"], attempt["spent"]) == (shown, 0)
    assert (attempt["finished_at"] is not None) == (shown in ("canceled", "expired"))


def test_error_of_an_attempt_that_goes_on_after_all_is_not_shown() -> None:
    attempt = {"state": "storing", "error": FAILURE % "x"}
    assert job_view(record({"status": "storing"}, attempt))["attempts"][-1]["error"] is None


def test_times_are_utc_with_milliseconds() -> None:
    assert iso("1700000000123") == "2023-11-14T22:13:20.123Z"
    assert iso(None) is None
