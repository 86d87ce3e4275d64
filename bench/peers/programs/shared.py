"""What every peer needs to know and does alike: addresses, names, the shape of the webhook. Runs in `.venv-peers`."""

import os
from typing import Any

MODEL = "bytedance/seedream-v4.5/sequential"
UPSTREAM = os.environ["PEER_UPSTREAM_URL"]
UPSTREAM_KEY = "ws_bench"
WEBHOOK_URL = os.environ["PEER_WEBHOOK_URL"]
BROKER_URL = os.environ["PEER_BROKER_URL"]
BUCKET = os.environ["PEER_BUCKET"]
AT_ONCE = int(os.environ["PEER_AT_ONCE"])
LOOK_EVERY_S = 2.0
"""The interval that upstream asks for."""

HEADERS = {"Authorization": f"Bearer {UPSTREAM_KEY}"}
SUBMIT_URL = f"{UPSTREAM}/api/v3/{MODEL}"

S3: dict[str, Any] = {
    "endpoint_url": os.environ["PEER_S3_URL"],
    "region_name": os.environ["PEER_S3_REGION"],
    "aws_access_key_id": os.environ["PEER_S3_KEY"],
    "aws_secret_access_key": os.environ["PEER_S3_SECRET"],
}


def result_url(prediction_id: str) -> str:
    """Where a prediction's state is asked for."""
    return f"{UPSTREAM}/api/v3/predictions/{prediction_id}/result"


def object_key(job_id: str, index: int) -> str:
    """Where an output is kept."""
    return f"peers/{job_id}/{index:02d}.png"


def event(job_id: str, prompt: str, keys: list[str]) -> dict[str, Any]:
    """What the webhook tells."""
    job = {"id": job_id, "status": "completed", "request": {"prompt": prompt}, "outputs": keys}
    return {"type": "job.completed", "data": job}


def request(prompt: str) -> dict[str, Any]:
    """What upstream is asked for."""
    return {"prompt": prompt, "size": "2048*2048", "max_images": 1}
