"""Jobs and batches as the API writes them, for the client's tests."""

import hashlib
import json
from typing import Any

from darkroom.client.answers import Answer

AT = "2026-11-26T08:00:00.000Z"
JOB_ID = "job_01J00000000000000000000000"
BATCH_ID = "batch_01J00000000000000000000000"
IMAGE = b"\x89PNG" + b"pixels" * 100
SIGNED = "https://bucket.example/00.png?X-Amz-Signature=SECRETSIGNATURE"


def cost(images: int = 1) -> dict[str, Any]:
    """A cost."""
    money = {"currency": "USD", "unit_price": 0.04, "estimated": 0.04 * images, "spent": 0.0}
    return money | {"images_requested": images, "images_delivered": 0}


def job_fields(status: str = "queued", **more: Any) -> dict[str, Any]:
    """A job."""
    request = {"prompt": "a fox", "size": "2048*2048", "max_images": 1}
    return {"id": JOB_ID, "status": status, "request": request, "cost": cost(), "created_at": AT} | more


def output_fields(index: int = 0, image: bytes = IMAGE) -> dict[str, Any]:
    """An output."""
    return {
        "index": index,
        "bucket": "b",
        "key": f"2026/11/26/{JOB_ID}/{index:02d}.png",
        "url": SIGNED,
        "content_type": "image/png",
        "bytes": len(image),
        "sha256": hashlib.sha256(image).hexdigest(),
        "width": 2048,
        "height": 2048,
        "nsfw": None,
    }


def batch_fields(status: str = "running", **more: Any) -> dict[str, Any]:
    """A batch."""
    return {"id": BATCH_ID, "status": status, "total": 2, "cost": cost(2), "created_at": AT} | more


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    """An answer; `retry_after="7"` becomes the header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps(body).encode())


def problem(code: str, status: int, **headers: str) -> Answer:
    """An answer that is an error."""
    body = {"type": "urn:x", "title": "t", "status": status, "detail": "it can't be", "code": code}
    return answer(body, status, **headers)
