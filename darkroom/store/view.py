"""How a record looks from outside: the job of the API, of `job.json` and of the webhooks."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from darkroom.ids import id_time_ms
from darkroom.jobs import TERMINAL_STATUSES, UNIT_PRICE_USD, usd
from darkroom.moments import moment_text
from darkroom.store.records import JobRecord

UrlFor = Callable[[str], tuple[str, datetime | None]]
"""Gives an object key's URL and until when it works (None: for ever)."""

REQUEST_DEFAULTS: dict[str, Any] = {
    "prompt": "",
    "size": "2048*2048",
    "max_images": 1,
    "enable_base64_output": False,
    "enable_sync_mode": False,
    "webhook": None,
    "metadata": {},
    "priority": "normal",
    "expires_in": None,
    "custom_id": None,
}
_ATTEMPT_STATUSES = {"": "queued", "admitted": "queued", "done": "completed"}
"""What an attempt's owner calls its state, where that is another word."""

LONGEST_MESSAGE = 120
"""Of an attempt's error in the list of attempts; the job's own error is shown whole."""

WEBHOOK_DEFAULTS: dict[str, Any] = {"url": "", "events": None}


def iso(time_ms: int | str | None) -> str | None:
    """Write Unix milliseconds as UTC ISO 8601; None stays None."""
    if not time_ms:
        return None
    return moment_text(datetime.fromtimestamp(int(time_ms) / 1000, UTC))


def job_view(record: JobRecord, *, url_for: UrlFor | None = None, base_url: str = "") -> dict[str, Any]:
    """Show a record as the job of the contract.

    Args:
        record: the job with its current and its late attempts.
        url_for: makes the outputs' URLs; without it there are keys only, as in `job.json`.
        base_url: put before the links.
    """
    job, attempt = record.job, record.attempt
    request = request_view(record.request)
    late = [
        output | {"attempt": number}
        for number, item in sorted(record.late.items())
        for output in _outputs(item, url_for)
    ]
    shown = record.status in ("completed", "failed") and record.attempt_number not in record.late
    outputs = _outputs(attempt, url_for) if shown else []
    return {
        "id": record.job_id,
        "object": "job",
        "status": record.status,
        "request": request,
        "custom_id": request["custom_id"],
        "metadata": request["metadata"],
        "batch_id": job.get("batch"),
        "priority": job["priority"],
        "queue_position": record.place or None,
        "held": record.held,
        "attempt": record.attempt_number,
        "submits": int(job.get("submits", 0)),
        "prediction_id": attempt.get("prediction_id"),
        "cancel_requested_at": iso(job.get("cancel_requested_ms")),
        "outputs": outputs,
        "late_outputs": late,
        "attempts": attempts_view(record),
        "webhook_status": job.get("webhook_status"),
        "cost": cost_view(job, delivered=len(outputs) + len(late)),
        "error": orjson.loads(job["error"]) if job.get("error") else None,
        "timings": _timings(record),
        "created_at": iso(id_time_ms(record.job_id)),
        "submitted_at": iso(attempt.get("submitted_ms")),
        "finished_at": iso(job.get("finished_ms")),
        "links": _links(record.job_id, base_url),
    }


def request_view(request: dict[str, Any]) -> dict[str, Any]:
    """Show a request with the defaults that its record leaves out."""
    shown = REQUEST_DEFAULTS | request
    if shown["webhook"] is not None:
        shown["webhook"] = WEBHOOK_DEFAULTS | shown["webhook"]
    return shown


def attempts_view(record: JobRecord) -> list[dict[str, Any]]:
    """Show a job's attempts, oldest first, each with what it cost."""
    return [_attempt_view(record, number, attempt) for number, attempt in sorted(record.attempts.items())]


def _short(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"


def _attempt_view(record: JobRecord, number: int, attempt: dict[str, str]) -> dict[str, Any]:
    state = attempt.get("state", "")
    status = _ATTEMPT_STATUSES.get(state, state)
    ended_ms = {"completed": attempt.get("stored_ms"), "failed": attempt.get("ended_ms")}.get(status)
    if status == "queued" and number == record.attempt_number and record.status in TERMINAL_STATUSES:
        status, ended_ms = record.status, record.job.get("finished_ms")  # it ended before anything was sent
    error = orjson.loads(attempt["error"]) if status == "failed" and attempt.get("error") else None
    return {
        "attempt": number,
        "status": status,
        "prediction_id": attempt.get("prediction_id"),
        "submits": int(attempt.get("sends", 0)),
        "spent": usd(int(attempt.get("spent_images", 0))),
        "submitted_at": iso(attempt.get("submitted_ms")),
        "finished_at": iso(ended_ms),
        "error": {"code": error["code"], "message": _short(error["message"])} if error else None,
    }


def cost_view(job: dict[str, str], *, delivered: int) -> dict[str, Any]:
    """Show what a job costs: `estimated` for one attempt, `spent` over all of them, in USD."""
    images = int(job["images"])
    return {
        "currency": "USD",
        "unit_price": UNIT_PRICE_USD,
        "estimated": usd(images),
        "spent": usd(int(job.get("spent_images", 0))),
        "images_requested": images,
        "images_delivered": delivered,
    }


def _outputs(attempt: dict[str, str], url_for: UrlFor | None) -> list[dict[str, Any]]:
    stored = [orjson.loads(value) for name, value in attempt.items() if name.startswith("out:")]
    outputs = sorted(stored, key=lambda output: int(output["index"]))
    if url_for is not None:
        for output in outputs:
            url, expires_at = url_for(output["key"])
            output["url"] = url
            output["url_expires_at"] = iso(int(expires_at.timestamp() * 1000)) if expires_at else None
    return outputs


def _timings(record: JobRecord) -> dict[str, int | None]:
    job, attempt = record.job, record.attempt
    return {
        "queued_ms": _between(job.get("queued_ms"), attempt.get("sent_ms") or job.get("finished_ms")),
        "inference_ms": int(attempt["inference_ms"]) if attempt.get("inference_ms") else None,
        "polls": int(attempt.get("polls") or 0),
        "storing_ms": _between(attempt.get("storing_ms"), attempt.get("stored_ms")),
        "total_ms": _between(str(id_time_ms(record.job_id)), job.get("finished_ms")),
    }


def _between(start_ms: str | None, end_ms: str | None) -> int | None:
    return max(0, int(end_ms) - int(start_ms)) if start_ms and end_ms else None


def _links(job_id: str, base_url: str) -> dict[str, str]:
    path = f"{base_url}/v1/jobs/{job_id}"
    return {
        "self": path,
        "events": f"{path}/events",
        "cancel": f"{path}/cancel",
        "retry": f"{path}/retry",
        "deliveries": f"{path}/deliveries",
    }
