"""Download, upload and webhook as a blocking task does them: an httpx stream into boto3's `upload_fileobj`.

Both clients may be shared between threads, and a prefork process makes its own when it needs them first.
"""

import tempfile
from functools import cache
from typing import Any

import boto3
import httpx
import shared
from botocore.config import Config


@cache
def _http() -> httpx.Client:
    limits = httpx.Limits(max_connections=shared.AT_ONCE, max_keepalive_connections=shared.AT_ONCE)
    return httpx.Client(timeout=30, limits=limits)


@cache
def _s3() -> Any:
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=50)
    return boto3.session.Session().client("s3", config=config, **shared.S3)


def keep(job_id: str, prompt: str, urls: list[str]) -> None:
    """Copy the outputs into the bucket and tell of it."""
    keys = []
    for index, url in enumerate(urls):
        with tempfile.SpooledTemporaryFile(max_size=8_000_000) as spool:
            with _http().stream("GET", url) as answer:
                answer.raise_for_status()
                for chunk in answer.iter_bytes():
                    spool.write(chunk)
            spool.seek(0)
            keys.append(shared.object_key(job_id, index))
            _s3().upload_fileobj(spool, shared.BUCKET, keys[-1], ExtraArgs={"ContentType": "image/png"})
    _http().post(shared.WEBHOOK_URL, json=shared.event(job_id, prompt, keys)).raise_for_status()


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST to upstream and give the answer's data."""
    answer = _http().post(url, json=body, headers=shared.HEADERS)
    answer.raise_for_status()
    data: dict[str, Any] = answer.json()["data"]
    return data


def get(url: str) -> dict[str, Any]:
    """GET from upstream and give the answer's data."""
    answer = _http().get(url, headers=shared.HEADERS)
    answer.raise_for_status()
    data: dict[str, Any] = answer.json()["data"]
    return data
