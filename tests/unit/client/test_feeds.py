"""Long answers: cut into lines rightly, and taken up again after what has been seen."""

import json
from typing import Any

import pytest

from darkroom.client.answers import Answer
from darkroom.client.errors import ConnectionFailed, NotFound, Unavailable
from darkroom.client.feeds import EventFeed, LineSplitter, ResultFeed
from tests.support.client_samples import BATCH_ID, JOB_ID, job_fields, problem

LOST = ConnectionFailed("reset", connected=True)


def event(number: int, status: str) -> bytes:
    data = {"job_id": JOB_ID, "status": status, "at": "2026-11-26T08:00:00.000Z", "attempt": 1, "more": "x"}
    return f"id: 1-{number}\nevent: job.status\ndata: {json.dumps(data)}\n\n".encode()


def result(line: int, **fields: Any) -> bytes:
    job = job_fields("completed", **fields)
    return json.dumps({"line": line, "custom_id": None, "job": job}, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_end_at_line_feeds_only(size: int) -> None:
    text = "a\u2028b\x85c\r\nд\n\nrest".encode()
    splitter = LineSplitter()
    lines = [line for start in range(0, len(text), size) for line in splitter.push(text[start : start + size])]
    assert lines == ["a\u2028b\x85c".encode(), "д".encode(), b""]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_read_whatever_they_are_cut_into(size: int) -> None:
    feed = EventFeed(JOB_ID, None, 5)
    assert feed.opened(Answer(200)) is None
    stream = b": keep-alive\n\n" + event(1, "queued") + b"event: other\ndata: {}\n\n" + event(2, "completed")
    seen = [change for start in range(0, len(stream), size) for change in feed.push(stream[start : start + size])]
    assert [(change.id, change.status) for change in seen] == [("1-1", "queued"), ("1-2", "completed")]
    feed.ended()
    assert feed.done


def test_events_go_on_after_the_last_one_that_was_seen() -> None:
    feed = EventFeed(JOB_ID, "1-1", 5)
    assert feed.call().headers["Last-Event-ID"] == "1-1"
    feed.opened(Answer(200))
    half = event(2, "submitting") + event(3, "generating")[:20]
    assert [change.id for change in feed.push(half)] == ["1-2"]
    feed.ended()
    assert not feed.done, "a service that is being stopped ends the answer before the job's end"
    assert feed.pause_s(None) > 0
    assert feed.call().headers["Last-Event-ID"] == "1-2"
    feed.opened(Answer(200))
    assert [change.id for change in feed.push(event(3, "completed"))] == ["1-3"]


def test_nothing_more_to_come_is_an_end() -> None:
    feed = EventFeed(JOB_ID, "1-5", 5)
    assert feed.opened(Answer(204)) is None
    feed.ended()
    assert feed.done


def test_a_job_that_is_not_there_is_not_asked_for_again() -> None:
    feed = EventFeed(JOB_ID, None, 5)
    with pytest.raises(NotFound):
        feed.pause_s(feed.opened(problem("not_found", 404)))


def test_a_dead_service_is_given_up_and_a_sign_of_life_starts_anew() -> None:
    feed = EventFeed(JOB_ID, None, 2)
    assert feed.pause_s(LOST) > 0
    assert feed.pause_s(feed.opened(problem("x", 503, retry_after="3"))) == 3
    feed.opened(Answer(200))
    assert list(feed.push(b": keep-alive\n\n")) == []
    for _ in range(2):
        feed.pause_s(LOST)
    with pytest.raises(Unavailable):
        feed.pause_s(feed.opened(problem("x", 503)))


def test_results_go_on_after_the_last_line_that_was_whole() -> None:
    feed = ResultFeed(BATCH_ID, 0, 5)
    assert feed.call().query == ()
    feed.opened(Answer(200))
    text = result(1) + result(4, metadata={"a": "\u2028"}) + result(9)[:-10]
    assert [one.line for one in feed.push(text)] == [1, 4]
    assert feed.pause_s(LOST) > 0
    assert feed.call().query == (("after", "4"),)
    feed.opened(Answer(200))
    assert [one.line for one in feed.push(result(9))] == [9]
    feed.ended()
    assert feed.done
