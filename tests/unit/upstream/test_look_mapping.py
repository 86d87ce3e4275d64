"""What each answer to a look means, and what a prediction's own state means."""

from collections.abc import Callable
from typing import Any

import pytest

from darkroom.upstream.mapping import Answer, look_outcome, outcome_of
from darkroom.upstream.outcomes import (
    Completed,
    Failed,
    NotFound,
    OutputRef,
    Pending,
    Prediction,
    Unauthorized,
    Unavailable,
)

AnswerOf = Callable[..., Answer]
ID = "e6832d4abffb4d79bfbca19783fca133"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("submit-created", Pending),
        ("result-processing", Pending),
        ("sync-timed-out", Pending),
        ("result-completed", Completed),
        ("result-completed-null-flags", Completed),
        ("result-completed-base64", Completed),
        ("result-failed-moderation", Failed),
        ("result-failed-internal", Failed),
        ("result-timeout", Failed),
    ],
)
def test_every_sample_means_what_its_status_says(
    answer_of: AnswerOf, sample: Callable[[str], bytes], name: str, expected: type
) -> None:
    found = look_outcome(answer_of(200, sample(name)), ID)
    assert type(found) is expected
    assert isinstance(found, Pending | Completed | Failed)
    assert found.prediction.id == ID


def test_completed_keeps_addresses_flags_and_time(answer_of: AnswerOf, sample: Callable[[str], bytes]) -> None:
    found = look_outcome(answer_of(200, sample("result-completed")), ID)
    assert isinstance(found, Completed)
    assert [output.url for output in found.prediction.outputs] == [
        f"https://d11ewybssaphwx.cloudfront.net/output/a-u1_{number}.jpeg" for number in (1, 2)
    ]
    assert (found.prediction.nsfw, found.prediction.inference_ms) == ((False, False), 25729)
    assert found.prediction.created_at == "2026-05-19T06:09:15.948268264Z"


def test_base64_output_is_a_usable_output_without_an_address(
    answer_of: AnswerOf, sample: Callable[[str], bytes]
) -> None:
    found = look_outcome(answer_of(200, sample("result-completed-base64")), ID)
    assert isinstance(found, Completed)
    assert found.prediction.outputs == (OutputRef(0, None, True, None),)


@pytest.mark.parametrize(
    ("code", "expected", "kind"),
    [
        (1200, "content_moderation", "permanent"),
        (1400, "invalid_request", "permanent"),
        (1401, "invalid_request", "permanent"),
        (1402, "invalid_request", "permanent"),
        (1403, "upstream_failed", "vague"),
        (1405, "upstream_failed", "vague"),
        (5000, "upstream_failed", "transient"),
        (5003, "upstream_failed", "transient"),
        (5004, "generation_timeout", "transient"),
        (1999, "upstream_failed", "vague"),
        (None, "upstream_failed", "vague"),
    ],
)
def test_task_code_decides_what_a_failure_is(code: int | None, expected: str, kind: str) -> None:
    found = outcome_of(Prediction("p", "m", "failed", error="why", code=code), http_status=200)
    assert isinstance(found, Failed)
    assert (found.error.code, found.error.kind) == (expected, kind)
    assert "why" in found.error.message
    assert found.error.upstream.get("task_code") == code


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("timeout", "generation_timeout", "transient"),
        ("cancelled", "upstream_failed", "permanent"),
        ("deleted", "upstream_failed", "permanent"),
    ],
)
def test_the_undocumented_endings_are_terminal(status: str, code: str, kind: str) -> None:
    found = outcome_of(Prediction("p", "m", status))
    assert isinstance(found, Failed)
    assert (found.error.code, found.error.kind) == (code, kind)


@pytest.mark.parametrize("status", ["", "queued", "paused", "COMPLETED", "succeeded"])
def test_an_unknown_status_is_not_finished_and_never_a_success(status: str) -> None:
    prediction = Prediction("p", "m", status, outputs=(OutputRef(0, "https://x.example/1.png"),))
    assert isinstance(outcome_of(prediction), Pending)


@pytest.mark.parametrize("outputs", [(), (OutputRef(0, note="it is null"),)])
def test_completed_without_a_usable_output_is_paid_work_that_may_still_show(outputs: tuple[OutputRef, ...]) -> None:
    found = outcome_of(Prediction("p", "m", "completed", outputs=outputs))
    assert isinstance(found, Completed)
    assert not any(output.usable for output in found.prediction.outputs)


def test_fewer_outputs_than_asked_for_is_a_success_and_null_keeps_its_place(answer_of: AnswerOf) -> None:
    data = {"id": ID, "status": "completed", "outputs": [None, "https://x.example/2.png"], "has_nsfw_contents": [True]}
    found = look_outcome(answer_of(200, {"code": 200, "data": data}), ID)
    assert isinstance(found, Completed)
    assert [(output.index, output.usable) for output in found.prediction.outputs] == [(0, False), (1, True)]
    assert found.prediction.nsfw == (True, None)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"message": "no"}, Unauthorized),
        (403, b"", Unauthorized),
        (404, {"message": "not found"}, NotFound),
        (410, b"", NotFound),
        (200, {"code": 404, "message": "not found"}, NotFound),
        (200, {"code": 401, "message": "no"}, Unauthorized),
        (400, {"error": "what"}, Unavailable),
        (302, b"", Unavailable),
        (500, b"<html></html>", Unavailable),
        (504, {"data": {"id": ID, "status": "failed"}}, Unavailable),
        (200, b"", Unavailable),
        (200, b"{", Unavailable),
        (200, [], Unavailable),
        (200, {"code": 200, "data": {}}, Unavailable),
    ],
)
def test_an_answer_without_a_prediction_ends_nothing(
    answer_of: AnswerOf, status: int, body: Any, expected: type
) -> None:
    assert isinstance(look_outcome(answer_of(status, body), ID), expected)


def test_rate_limit_of_a_look_says_when_to_look_again(answer_of: AnswerOf) -> None:
    found = look_outcome(answer_of(429, b"", retry_after_s=3.0), ID)
    assert isinstance(found, Unavailable)
    assert found.retry_after_s == 3.0


def test_somebody_elses_prediction_is_never_taken(answer_of: AnswerOf, sample: Callable[[str], bytes]) -> None:
    assert isinstance(look_outcome(answer_of(200, sample("result-completed")), "another"), Unavailable)


def test_addresses_are_not_in_the_repr(answer_of: AnswerOf, sample: Callable[[str], bytes]) -> None:
    assert "cloudfront" not in repr(look_outcome(answer_of(200, sample("result-completed")), ID))
