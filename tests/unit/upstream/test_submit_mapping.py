"""What each answer to a submit means for money and for the job."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from darkroom.upstream.mapping import Answer, submit_outcome
from darkroom.upstream.outcomes import Accepted, CallbackRefused, NotNow, Refused, Submission, SubmitOutcome, Unknown

AnswerOf = Callable[..., Answer]
SENT = datetime(2026, 5, 19, 6, 9, 15, tzinfo=UTC)
ENDED = datetime(2026, 5, 19, 6, 9, 16, tzinfo=UTC)
HTML = b"<html><head><title>502</title></head><body><h1>Bad Gateway</h1></body></html>"


def outcome(answer: Answer, prompt: str = "a fox in four panels", *, calls_back: bool = False) -> SubmitOutcome:
    return submit_outcome(
        answer, Submission(prompt, "2048*2048", 4), sent_at=SENT, ended_at=ENDED, calls_back=calls_back
    )


def test_body_has_the_five_fields_upstream_knows_and_no_other() -> None:
    assert Submission("p", "2048*2048", 3, True, True).body() == {
        "prompt": "p",
        "size": "2048*2048",
        "max_images": 3,
        "enable_base64_output": True,
        "enable_sync_mode": True,
    }


def test_created_answer_is_accepted_with_its_id(answer_of: AnswerOf, sample: Callable[[str], bytes]) -> None:
    found = outcome(answer_of(200, sample("submit-created")))
    assert isinstance(found, Accepted)
    assert (found.prediction.id, found.prediction.status) == ("e6832d4abffb4d79bfbca19783fca133", "created")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("result-completed", "completed"),
        ("result-completed-base64", "completed"),
        ("result-failed-moderation", "failed"),
        ("sync-timed-out", "processing"),
    ],
)
def test_sync_answer_with_an_id_is_accepted_whatever_became_of_it(
    answer_of: AnswerOf, sample: Callable[[str], bytes], name: str, status: str
) -> None:
    found = outcome(answer_of(200, sample(name)))
    assert isinstance(found, Accepted)
    assert found.prediction.status == status


@pytest.mark.parametrize("http_status", [201, 202, 500, 504])
def test_an_id_is_kept_even_under_an_odd_status(answer_of: AnswerOf, http_status: int) -> None:
    assert isinstance(outcome(answer_of(http_status, {"data": {"id": "p1", "status": "processing"}})), Accepted)


@pytest.mark.parametrize("http_status", [500, 502, 503, 504, 599, 408, 409, 425, 301, 302, 307, 308])
@pytest.mark.parametrize("body", [HTML, {"message": "no", "error_code": "x"}, {"error": "no"}, b""])
def test_server_errors_redirects_and_strange_statuses_are_unknown(
    answer_of: AnswerOf, http_status: int, body: Any
) -> None:
    found = outcome(answer_of(http_status, body))
    assert isinstance(found, Unknown)
    assert (found.status, found.sent_at, found.ended_at) == (http_status, SENT, ENDED)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        HTML,
        b'{"code":200,"data":{"id":"e68',
        [],
        "text",
        {"code": 200, "message": "success"},
        {"code": 200, "data": None},
        {"code": 200, "data": {"id": ""}},
        {"code": 200, "data": {"id": 5}},
        {"code": 200, "data": {"id": "x" * 201}},
        {"code": 1401, "message": "invalid parameter"},
    ],
)
def test_success_that_names_no_prediction_is_unknown(answer_of: AnswerOf, body: Any) -> None:
    assert isinstance(outcome(answer_of(200, body)), Unknown)


def test_rate_limit_sends_the_job_back_with_upstreams_wait(answer_of: AnswerOf) -> None:
    found = outcome(answer_of(429, {"message": "slow down"}, retry_after_s=7.0))
    assert isinstance(found, NotNow)
    assert (found.reason, found.retry_after_s) == ("rate", 7.0)


@pytest.mark.parametrize(
    ("http_status", "body", "reason"),
    [
        (401, {"message": "invalid authentication", "error_code": "unauthorized"}, "auth"),
        (401, b"", "auth"),
        (403, {"error": "forbidden"}, "auth"),
        (403, HTML, "auth"),
        (402, {"error": "pay"}, "balance"),
        (402, b"", "balance"),
        (400, {"error": "Insufficient balance, please top up."}, "balance"),
        (400, {"message": "not enough credits", "error_code": "bad_request"}, "balance"),
        (400, {"message": "no", "error_code": "insufficient_balance"}, "balance"),
        (403, {"message": "insufficient balance"}, "balance"),
        (404, {"message": "model not found"}, "upstream"),
        (400, {"code": 5003, "message": "service unavailable"}, "upstream"),
    ],
)
def test_what_is_not_the_jobs_fault_never_refuses_the_job(
    answer_of: AnswerOf, http_status: int, body: Any, reason: str
) -> None:
    found = outcome(answer_of(http_status, body))
    assert isinstance(found, NotNow)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("http_status", "text", "code", "kind"),
    [
        (400, "insufficient balance", "invalid_request", "permanent"),
        (403, "insufficient balance", "invalid_request", "permanent"),
        (403, "blocked", "invalid_request", "permanent"),
        (404, "no such model", "upstream_failed", "vague"),
        (401, "no", None, None),
        (402, "insufficient balance", None, None),
        (429, "slow down", None, None),
    ],
)
def test_what_may_be_the_jobs_fault_carries_what_it_is_then(
    answer_of: AnswerOf, http_status: int, text: str, code: str | None, kind: str | None
) -> None:
    found = outcome(answer_of(http_status, {"error": text}))
    assert isinstance(found, NotNow)
    own = found.refusal
    assert (own and own.code, own and own.kind) == (code, kind)
    assert own is None or own.upstream == {"http_status": http_status, "text": text}


def test_vague_refusal_may_be_the_jobs_fault_and_can_be_retried_then(answer_of: AnswerOf) -> None:
    found = outcome(answer_of(400, {"code": 1403, "message": "task execution failed"}))
    assert isinstance(found, NotNow)
    assert found.refusal is not None
    assert (found.reason, found.refusal.code, found.refusal.kind) == ("upstream", "upstream_failed", "vague")


@pytest.mark.parametrize(
    ("prompt", "body", "is_echo"),
    [
        ("a fox on a Balance", {"error": "term not allowed: balance"}, True),
        ("CREDIT cards", {"error": "unsupported words: credit, cards"}, True),
        ("a fox on a balance", {"error": "insufficient balance"}, False),
        ("a fox", {"error": "balance too low"}, False),
        ("a balance", {"error": "no balance", "error_code": "insufficient_balance"}, False),
    ],
)
def test_words_of_money_that_the_prompt_has_too_are_told_from_upstreams_own(
    answer_of: AnswerOf, prompt: str, body: dict[str, str], is_echo: bool
) -> None:
    found = outcome(answer_of(400, body), prompt)
    assert isinstance(found, NotNow)
    assert (found.reason, found.is_echo) == ("balance", is_echo)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(400, Refused), (401, NotNow), (402, NotNow), (403, NotNow), (404, NotNow), (429, NotNow), (500, Unknown)],
)
def test_envelope_code_without_an_id_counts_as_the_status(answer_of: AnswerOf, code: int, expected: type) -> None:
    assert isinstance(outcome(answer_of(200, {"code": code, "message": "no", "data": None})), expected)


@pytest.mark.parametrize("http_status", [400, 413, 422])
def test_refused_request_is_permanent_and_says_what_upstream_said(answer_of: AnswerOf, http_status: int) -> None:
    found = outcome(answer_of(http_status, {"error": "webhook callback does not support base64 output"}))
    assert isinstance(found, Refused)
    assert (found.error.code, found.error.kind) == ("invalid_request", "permanent")
    assert "does not support base64" in found.error.message
    assert found.error.upstream["http_status"] == http_status


def test_refusal_with_the_moderation_code_is_moderation(answer_of: AnswerOf) -> None:
    found = outcome(answer_of(400, {"code": 1200, "message": "The content may contain sensitive information."}))
    assert isinstance(found, Refused)
    assert (found.error.code, found.error.upstream["task_code"]) == ("content_moderation", 1200)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a balance scale of gold", "invalid prompt: a balance scale of gold"),
        ("insufficient credit, a comedy", "prompt 'insufficient credit, a comedy' is not allowed"),
        ("the scales of justice balance a feather and a heart", "bad prompt: of justice balance a feather and a he…"),
        ("Balance Scale", "invalid prompt: balance scale"),
        ('she says "balance" \\ twice', 'invalid prompt: she says "balance" \\ twice'),
    ],
)
def test_a_prompt_that_upstream_echoes_cannot_look_like_an_empty_balance(
    answer_of: AnswerOf, prompt: str, text: str
) -> None:
    assert isinstance(outcome(answer_of(400, {"error": text}), prompt), Refused)


@pytest.mark.parametrize("prompt", ["insufficient balance", "a balance scale", "credit where credit is due", ""])
def test_an_empty_balance_is_seen_whatever_the_prompt_is_about(answer_of: AnswerOf, prompt: str) -> None:
    found = outcome(answer_of(400, {"error": "Insufficient balance: your account has no credits left"}), prompt)
    assert isinstance(found, NotNow)
    assert found.reason == "balance"


def test_no_key_and_no_signed_address_reaches_a_message(answer_of: AnswerOf) -> None:
    text = "key sk-123 may not read https://user:pw@files.example/a.png?Signature=abc with Bearer sk-456"
    found = outcome(answer_of(400, {"message": text}, secret="sk-123"))
    shown = repr(found)
    assert "files.example/a.png" in shown
    assert not any(secret in shown for secret in ("sk-123", "sk-456", "Signature", "pw@"))


def test_a_gateways_page_becomes_one_short_line(answer_of: AnswerOf) -> None:
    page = b"<html><style>p {color: red}</style><body><h1>Bad Gateway</h1>" + b"<p>x y</p>" * 5000
    found = outcome(answer_of(502, page))
    assert isinstance(found, Unknown)
    assert "Bad Gateway" in found.message
    assert "<" not in found.message
    assert len(found.message) < 600


@pytest.mark.parametrize("text", ["webhook must be a public https URL", "Invalid callback address"])
def test_a_refused_address_is_not_the_jobs_fault(answer_of: AnswerOf, text: str) -> None:
    assert isinstance(outcome(answer_of(400, {"message": text}), calls_back=True), CallbackRefused)
    assert isinstance(outcome(answer_of(400, {"message": text})), Refused), "none was named"
    assert isinstance(outcome(answer_of(400, {"message": "size is wrong"}), calls_back=True), Refused)


def test_a_prompt_about_webhooks_can_not_look_like_a_refused_address(answer_of: AnswerOf) -> None:
    echoed = answer_of(400, {"message": "bad prompt: a fox draws a webhook"})
    assert isinstance(outcome(echoed, "a fox draws a webhook", calls_back=True), Refused)


def test_a_token_that_upstream_repeats_is_not_shown(answer_of: AnswerOf) -> None:
    url = "https://dr.example.com/v1/upstream/callback/job_1.1.1.secret"
    found = outcome(answer_of(400, {"message": f"webhook '{url}' can not be reached"}), calls_back=True)
    assert isinstance(found, CallbackRefused)
    assert "job_1.1.1" not in found.message
    assert "can not be reached" in found.message
