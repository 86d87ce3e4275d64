"""The one mapping from upstream's answers to outcomes. Pure; the client's calls and the callback all come through here.

An envelope whose own `code` is not 200 and that carries no prediction counts as that HTTP status. An answer that
carries a prediction's id is a prediction, whatever else it says: something was created, and a look will tell the rest.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from darkroom.jobs import ErrorCode
from darkroom.upstream.base64_text import EncodedOutput
from darkroom.upstream.outcomes import (
    Accepted,
    CallbackRefused,
    Completed,
    ErrorKind,
    Failed,
    LookOutcome,
    NotFound,
    NotNow,
    Pending,
    Prediction,
    Refused,
    Submission,
    SubmitOutcome,
    Unauthorized,
    Unavailable,
    Unknown,
    UpstreamError,
)
from darkroom.upstream.reading import Document
from darkroom.upstream.text import clean_text, said, tells_of_balance, tells_of_callback, without_echo, without_words_of
from darkroom.upstream.wire import parse_prediction, whole_number

TASK_CODES: dict[int, tuple[ErrorCode, ErrorKind]] = {
    1200: ("content_moderation", "permanent"),
    1400: ("invalid_request", "permanent"),
    1401: ("invalid_request", "permanent"),
    1402: ("invalid_request", "permanent"),
    1403: ("upstream_failed", "vague"),
    1405: ("upstream_failed", "vague"),
    5000: ("upstream_failed", "transient"),
    5003: ("upstream_failed", "transient"),
    5004: ("generation_timeout", "transient"),
}
"""Task error codes (WaveSpeed's error-code page) and what each means for the job."""

ENDINGS: dict[str, tuple[ErrorCode, ErrorKind]] = {
    "failed": ("upstream_failed", "vague"),
    "timeout": ("generation_timeout", "transient"),
    "cancelled": ("upstream_failed", "permanent"),
    "canceled": ("upstream_failed", "permanent"),
    "deleted": ("upstream_failed", "permanent"),
}
"""Statuses that end without an image. Cancelled and deleted are somebody's will; buying it again would defy that."""

REFUSALS_OF_THE_REQUEST = frozenset({400, 413, 422})
GONE = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read to its end. `secret` is the key, to be cut out of every text."""

    status: int
    document: Document
    retry_after_s: float | None = None
    server_date: datetime | None = None
    secret: str = field(default="", repr=False)

    @property
    def data(self) -> Any:
        """The envelope's `data`, None where there is none."""
        value = self.document.value
        return value.get("data") if isinstance(value, dict) else None

    @property
    def effective_status(self) -> int:
        """The HTTP status, or the envelope's own code where the two differ."""
        value = self.document.value
        code = whole_number(value.get("code")) if isinstance(value, dict) else None
        return code if self.status == 200 and code is not None and 300 <= code <= 599 else self.status

    @property
    def is_success(self) -> bool:
        """Whether both the status and the envelope say so."""
        return 200 <= self.effective_status < 300

    @property
    def raw_text(self) -> str:
        """What the answer says is wrong, as it came."""
        return said(self.document.value, self.document.text)

    @property
    def text(self) -> str:
        """What the answer says is wrong, fit to be shown."""
        return clean_text(self.raw_text, self.secret)

    def output_files(self) -> dict[int, Path]:
        """The spooled outputs of its prediction, by index."""
        source = self.document.value if self.data is None else self.data
        outputs = source.get("outputs") if isinstance(source, dict) else None
        entries = enumerate(outputs if isinstance(outputs, list) else [])
        return {index: entry.path for index, entry in entries if isinstance(entry, EncodedOutput) and entry.path}

    def prediction(self) -> Prediction | None:
        """The prediction in it, in an envelope or bare; None if it names no id."""
        found = parse_prediction(self.data, secret=self.secret)
        value = self.document.value
        if found is None and self.is_success and isinstance(value, dict) and isinstance(value.get("status"), str):
            found = parse_prediction(value, secret=self.secret)
        return found


def submit_outcome(
    answer: Answer, submission: Submission, *, sent_at: datetime, ended_at: datetime, calls_back: bool = False
) -> SubmitOutcome:
    """Say what a submit's answer means; `calls_back`: it named an address to call back, which may be what is refused.

    401 and 402 would meet every job alike, so they pause the lane and fail no job. 403, 404 and a 400 in words of money
    or with a vague code may be either's fault: they carry what they are if the account turns out to be fine. All that
    is not known to have created nothing is unknown.
    """
    prediction = answer.prediction()
    if prediction is not None:
        return Accepted(prediction)
    status = answer.effective_status
    if status == 429:
        return NotNow("rate", answer.retry_after_s, _because("upstream's rate limit is reached", answer))
    if status == 401:
        return NotNow("auth", None, _because("upstream does not accept the API key", answer))
    if status == 402 or (status in (400, 403) and _is_about_balance(answer, submission)):
        message, own = _because("upstream says the balance is too low", answer), _error_of(answer)
        if status == 402:
            return NotNow("balance", answer.retry_after_s, message)
        return NotNow("balance", answer.retry_after_s, message, own, _has_only_words_of(submission.prompt, answer))
    if status == 403:
        return NotNow("auth", None, _because("upstream does not allow this submit", answer), _error_of(answer))
    if status == 404:
        message = _because("upstream does not know the model", answer)
        own = UpstreamError("upstream_failed", message, "vague", _told(http_status=answer.status, text=answer.text))
        return NotNow("upstream", answer.retry_after_s, message, own)
    if status in REFUSALS_OF_THE_REQUEST:
        if calls_back and tells_of_callback(without_words_of(submission.prompt, answer.raw_text)):
            return CallbackRefused(_because("upstream refused the address to call back", answer))
        return _refusal(answer)
    reason = answer.document.problem or "the answer names no prediction"
    return Unknown(_because(f"HTTP {answer.status}, {reason}", answer), answer.status, sent_at, ended_at)


def _is_about_balance(answer: Answer, submission: Submission) -> bool:
    return _has_code_of_balance(answer) or tells_of_balance(without_echo(answer.raw_text, submission.prompt))


def _has_only_words_of(prompt: str, answer: Answer) -> bool:
    return not (_has_code_of_balance(answer) or tells_of_balance(without_words_of(prompt, answer.raw_text)))


def _has_code_of_balance(answer: Answer) -> bool:
    value = answer.document.value
    error_code = value.get("error_code") if isinstance(value, dict) else None
    return isinstance(error_code, str) and tells_of_balance(error_code)


def _refusal(answer: Answer) -> SubmitOutcome:
    """A refused request is the job's own fault, unless it comes with a task code that says otherwise."""
    error = _error_of(answer)
    if error.kind != "permanent":
        return NotNow("upstream", answer.retry_after_s, error.message, error)
    return Refused(error)


def _error_of(answer: Answer) -> UpstreamError:
    task_code = _task_code(answer)
    code, kind = TASK_CODES.get(task_code or 0, ("invalid_request", "permanent"))
    what = "upstream refused the request" if kind == "permanent" else "upstream could not take the request"
    told = _told(http_status=answer.status, task_code=task_code, text=answer.text)
    return UpstreamError(code, _because(what, answer), kind, told)


def _task_code(answer: Answer) -> int | None:
    value = answer.document.value
    for part in (answer.data, value):
        code = whole_number(part.get("code")) if isinstance(part, dict) else None
        if code in TASK_CODES:
            return code
    return None


def look_outcome(answer: Answer, prediction_id: str) -> LookOutcome:
    """Say what an answer to a look means."""
    prediction = answer.prediction() if 200 <= answer.status < 300 else None
    if prediction is not None and prediction.id == prediction_id:
        return outcome_of(prediction, http_status=answer.status)
    if prediction is not None:
        return Unavailable("upstream answered with another prediction than the one asked for")
    status = answer.effective_status
    if status in (401, 403):
        return Unauthorized(_because(f"upstream answered {status} to a look", answer))
    if status in GONE:
        return NotFound(_because("upstream does not know the prediction", answer))
    reason = answer.document.problem or "no prediction in the answer"
    return Unavailable(_because(f"upstream answered {status} to a look, {reason}", answer), answer.retry_after_s)


def outcome_of(prediction: Prediction, *, http_status: int | None = None) -> Pending | Completed | Failed:
    """Say what a prediction's own state means, wherever it came from."""
    if prediction.status == "completed":
        return Completed(prediction)  # with outputs or not: they are paid, and may be missing for a moment only
    if prediction.status not in ENDINGS:
        return Pending(prediction)
    code, kind = ENDINGS[prediction.status]
    if prediction.status == "failed" and prediction.code is not None:
        code, kind = TASK_CODES.get(prediction.code, (code, kind))
    message = f"upstream ended it as {prediction.status}" + (f": {prediction.error}" if prediction.error else "")
    return Failed(prediction, _failure(prediction, code, kind, message, http_status))


def _failure(
    prediction: Prediction, code: ErrorCode, kind: ErrorKind, message: str, http_status: int | None
) -> UpstreamError:
    told = _told(
        http_status=http_status, task_status=prediction.status, task_code=prediction.code, text=prediction.error
    )
    return UpstreamError(code, message, kind, told)


def _told(**parts: Any) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if part not in (None, "")}


def _because(what: str, answer: Answer) -> str:
    text = answer.text
    return f"{what}: {text}" if text else what
