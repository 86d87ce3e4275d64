"""A webhook's body stays of a size that receivers take, whatever a job has been through."""

from typing import cast

import aiohttp
import orjson
from pydantic import SecretStr

from darkroom.ids import new_id
from darkroom.settings import StorageSettings
from darkroom.storage.bucket import Bucket
from darkroom.store.records import JobRecord
from darkroom.store.view import LONGEST_MESSAGE, job_view

MOST_BYTES = 20_000
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
    body = orjson.dumps({"type": "job.completed", "timestamp": "2026-11-22T17:00:00.000Z", "data": view})
    assert len(body) < MOST_BYTES
