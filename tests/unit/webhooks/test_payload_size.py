"""A webhook's body stays of a size that receivers take, whatever a job has been through."""

from typing import Any, cast

import aiohttp
import orjson
from pydantic import SecretStr

from darkroom.ids import new_id
from darkroom.settings import StorageSettings
from darkroom.storage.bucket import Bucket
from darkroom.store.records import JobRecord
from darkroom.store.view import LONGEST_MESSAGE, job_view
from darkroom.webhooks.payload import MOST_BYTES, write_payload

AT = "2026-11-22T17:00:00.000Z"
ERROR = orjson.dumps({"code": "upstream_failed", "message": "x" * 10_000, "retryable": True}).decode()


def test_fifteen_outputs_and_twenty_attempts_stay_under_20_kb() -> None:
    settings = StorageSettings(
        bucket="a-bucket-of-ordinary-length",
        region="eu-central-1",
        access_key_id=SecretStr("A" * 20),
        secret_access_key=SecretStr("s" * 40),
    )
    job_id = new_id("job")
    failed = {
        "state": "failed",
        "prediction_id": "0" * 32,
        "sends": "1",
        "spent_images": "15",
        "submitted_ms": "1700000000000",
        "ended_ms": "1700000060000",
        "error": ERROR,
    }
    assert len(ERROR) > 30 * LONGEST_MESSAGE
    stored = failed | {"state": "done", "stored_ms": "1700000060000"}
    for index in range(15):
        key = f"2026/11/22/{job_id}/attempt-20/{index:02d}.png"
        stored[f"out:{index}"] = orjson.dumps(
            {
                "index": index,
                "bucket": settings.bucket,
                "key": key,
                "content_type": "image/png",
                "bytes": 16_000_000,
                "sha256": "0" * 64,
                "width": 4096,
                "height": 4096,
                "nsfw": False,
            }
        ).decode()
    request = {"prompt": "p" * 500, "max_images": 15, "webhook": {"url": "https://example.com/hooks/darkroom"}}
    job = {
        "tenant": "acme",
        "status": "completed",
        "attempt": "20",
        "images": "15",
        "priority": "normal",
        "request": orjson.dumps(request).decode(),
    }
    bucket = Bucket(settings, session=cast(aiohttp.ClientSession, None))  # nothing here connects
    record = JobRecord(job_id, job, stored, earlier=dict.fromkeys(range(1, 20), failed))
    view = job_view(record, url_for=bucket.object_url, base_url="https://darkroom.example.com")
    assert (len(view["outputs"]), len(view["attempts"])) == (15, 20)
    body = write_payload("job.completed", AT, view)
    assert len(body) < MOST_BYTES
    assert orjson.loads(body) == {"type": "job.completed", "timestamp": AT, "data": view}


def job(**fields: Any) -> dict[str, Any]:
    """Give as much of a job as can be cut."""
    output = {
        "index": 0,
        "key": "2026/11/22/job/00.png",
        "url": "https://s3.example/" + "s" * 900,
        "url_expires_at": AT,
    }
    return {
        "id": "job_1",
        "request": {"prompt": "a fox", "metadata": {"order": "1234"}},
        "metadata": {"order": "1234"},
        "attempts": [{"attempt": 1}, {"attempt": 2}],
        "outputs": [output] * 15,
        "late_outputs": [],
        "links": {"self": "/v1/jobs/job_1"},
    } | fields


def told(data: dict[str, Any]) -> dict[str, Any]:
    """Write and read it."""
    body = write_payload("job.completed", AT, data)
    assert len(body) <= MOST_BYTES
    event: dict[str, Any] = orjson.loads(body)
    assert (event["type"], event["timestamp"]) == ("job.completed", AT)
    assert (event["data"]["id"], event["data"]["links"]) == (data["id"], data["links"])
    return event


def test_a_long_prompt_is_cut_first_and_alone_where_that_is_enough() -> None:
    long = job(request={"prompt": "ü" * 10_000, "metadata": {"order": "1234"}})
    event = told(long)
    assert event["truncated"] == ["request.prompt"]
    assert event["data"]["request"] == {"prompt": "ü" * 499 + "…", "metadata": {"order": "1234"}}
    assert event["data"] == long | {"request": event["data"]["request"]}


def test_large_metadata_is_cut_before_the_outputs() -> None:
    metadata = {f"key {number}": "ä" * 512 for number in range(16)} | {"order": "1234"}
    event = told(job(request={"prompt": "x", "metadata": metadata}, metadata=metadata))
    assert event["truncated"] == ["request.prompt", "request.metadata", "metadata values"]
    assert event["data"]["metadata"]["order"] == "1234"
    assert event["data"]["metadata"]["key 3"] == "ä" * 63 + "…"
    assert all(output["url"] for output in event["data"]["outputs"])


def test_very_long_addresses_give_way_to_the_keys() -> None:
    outputs = [{"index": i, "key": f"{i:02d}.png", "url": "u" * 3_000, "url_expires_at": AT} for i in range(15)]
    event = told(job(outputs=outputs))
    assert event["truncated"][-1] == "outputs[].url"
    assert [(output["key"], output["url"]) for output in event["data"]["outputs"]] == [
        (f"{i:02d}.png", None) for i in range(15)
    ]


def test_the_worst_that_the_api_takes_still_fits() -> None:
    metadata = {chr(0x1F600 + number) * 64: "\x01" * 512 for number in range(16)}
    outputs = [{"index": i, "key": "k" * 1_024, "url": "u" * 5_000, "url_expires_at": AT} for i in range(15)]
    told(job(request={"prompt": "\x01" * 10_000, "metadata": metadata}, metadata=metadata, outputs=outputs))
