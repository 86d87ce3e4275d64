"""The body of a webhook, small enough for every receiver: what does not fit is left out and named."""

from collections.abc import Callable
from typing import Any

import orjson

MOST_BYTES = 20_000
"""Standard Webhooks recommends payloads under 20 kB (its spec, "Payload size")."""

PROMPT_KEPT = 500
VALUE_KEPT = 64
Job = dict[str, Any]


def write_payload(kind: str, at: str | None, job: Job) -> bytes:
    """Write `{"type", "timestamp", "data"}`; where it is too large, with `truncated` naming what was cut short.

    The job's links and ids are never cut: whoever needs the rest asks the API for the job.
    """
    event: dict[str, Any] = {"type": kind, "timestamp": at, "data": job}
    body = orjson.dumps(event)
    for name, cut in _CUTS:
        if len(body) <= MOST_BYTES:
            break
        event["data"] = cut(event["data"])
        event["truncated"] = [*event.get("truncated", []), name]
        body = orjson.dumps(event)
    return body


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _prompt(job: Job) -> Job:
    return job | {"request": job["request"] | {"prompt": _short(job["request"]["prompt"], PROMPT_KEPT)}}


def _requests_metadata(job: Job) -> Job:
    return job | {"request": job["request"] | {"metadata": {}}}


def _values(job: Job) -> Job:
    return job | {"metadata": {key: _short(value, VALUE_KEPT) for key, value in job["metadata"].items()}}


def _latest_attempt(job: Job) -> Job:
    return job | {"attempts": job["attempts"][-1:]}


def _without_urls(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [output | {"url": None, "url_expires_at": None} for output in outputs]


_CUTS: tuple[tuple[str, Callable[[Job], Job]], ...] = (
    ("request.prompt", _prompt),
    ("request.metadata", _requests_metadata),
    ("metadata values", _values),
    ("attempts", _latest_attempt),
    ("late_outputs", lambda job: job | {"late_outputs": []}),
    ("outputs[].url", lambda job: job | {"outputs": _without_urls(job["outputs"])}),
    ("metadata", lambda job: job | {"metadata": {}}),
    ("outputs", lambda job: job | {"outputs": []}),
)
"""What is cut, in this order and as far as needed: first what the receiver has sent us itself."""
