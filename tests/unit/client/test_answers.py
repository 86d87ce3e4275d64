"""Answers become models and errors, also those of a newer service or of no Darkroom at all."""

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from darkroom.batches import Batch, BatchRetry
from darkroom.client.answers import Answer, error_of, read_model, read_page, retry_after_s
from darkroom.client.errors import ApiError, ConnectionFailed, Unavailable, UnreadableAnswer
from darkroom.jobs import Job
from tests.support.client_samples import answer, batch_fields, cost, job_fields


def test_fields_of_a_newer_service_are_passed_over() -> None:
    fields = job_fields(brand_new=1)
    fields["request"] |= {"seed": 7, "webhook": {"url": "https://example.com/", "events": None, "version": 2}}
    job = read_model(answer(fields).body, Job)
    assert job.request.prompt == "a fox"
    assert job.request.webhook is not None
    assert job.request.webhook.url == "https://example.com/"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": 1}'])
def test_what_is_no_job_is_refused_without_repeating_it(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer) as refusal:
        read_model(body, Job)
    assert "html" not in str(refusal.value)


def test_a_field_that_is_wrong_is_named_and_its_value_is_not() -> None:
    fields = job_fields()
    fields["request"]["prompt"] = ["SECRET"]
    with pytest.raises(UnreadableAnswer, match=r"request\.prompt") as refusal:
        read_model(answer(fields).body, Job)
    assert "SECRET" not in str(refusal.value)


def test_a_batch_is_read_as_the_api_writes_it() -> None:
    fields = batch_fields(
        counts={"queued": 1, "completed": 1},
        webhook={"url": "https://example.com/", "events": ["batch.completed"]},
        skipped={"lines": 1, "errors": [{"loc": ["line", 3, "prompt"], "msg": "is missing"}]},
        manifest={"bucket": "b", "batch_key": "x/batch.json", "results_key": "x/results.ndjson"},
        held=None,
        estimated_seconds_left=12,
        links={"self": "http://x/v1/batches/1"},
    )
    batch = read_model(answer(fields).body, Batch)
    assert batch.counts.finished == 1
    assert batch.skipped is not None
    assert batch.skipped.errors[0].loc == ["line", 3, "prompt"]
    retry = {"batch": fields, "retried": {"resumed": 1, "new_attempts": 2}, "not_retried": {"invalid_request": 3}}
    read = read_model(answer(retry | {"cost": {"currency": "USD", "estimated": 0.08}}).body, BatchRetry)
    assert (read.retried.new_attempts, read.not_retried, read.cost.estimated) == (2, {"invalid_request": 3}, 0.08)
    assert batch.cost.images_requested == cost(2)["images_requested"]


def test_a_page_is_read_with_its_cursor() -> None:
    page = read_page(answer({"data": [job_fields()], "next_cursor": "job_1"}).body, Job)
    assert ([job.status for job in page.data], page.next_cursor) == (["queued"], "job_1")


def test_a_gateways_page_is_an_error_that_says_what_it_may_be() -> None:
    error = error_of(Answer(502, {}, b"<html>bad gateway, and much more</html>"))
    assert isinstance(error, Unavailable)
    assert error.code == "http_502"
    assert "gateway" not in str(error)


def test_wrong_fields_are_handed_on() -> None:
    body = {"code": "validation_error", "detail": "x", "errors": [{"loc": ["line", 2, "size"], "msg": "too small"}]}
    error = error_of(answer(body, 422))
    assert error is not None
    assert error.errors == [{"loc": ["line", 2, "size"], "msg": "too small"}]


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s("12") == 12
    assert retry_after_s(None) is retry_after_s("soon") is None
    later = retry_after_s(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert later is not None
    assert 3500 < later <= 3600
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_errors_cross_processes() -> None:
    error = error_of(answer({"code": "line_full", "detail": "x"}, 429, retry_after="3"))
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ApiError)
    assert (again.code, again.status, again.retry_after_s) == ("line_full", 429, 3)
    lost = pickle.loads(pickle.dumps(ConnectionFailed("x", connected=True)))
    assert lost.connected
