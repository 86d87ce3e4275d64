"""One job on asyncio, as a task of saq or taskiq does it: httpx for upstream and webhook, aioboto3 for the bucket."""

import asyncio
import io
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aioboto3
import httpx
import shared
from botocore.config import Config


@dataclass
class Clients:
    """What a worker opens once."""

    http: httpx.AsyncClient
    s3: Any
    stack: AsyncExitStack


async def open_clients() -> Clients:
    """Open one HTTP client and one S3 client for the process."""
    stack = AsyncExitStack()
    limits = httpx.Limits(max_connections=shared.AT_ONCE, max_keepalive_connections=shared.AT_ONCE)
    http = await stack.enter_async_context(httpx.AsyncClient(timeout=30, limits=limits))
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=50)
    s3 = await stack.enter_async_context(aioboto3.Session().client("s3", config=config, **shared.S3))
    return Clients(http, s3, stack)


async def generate(clients: Clients, job_id: str, prompt: str) -> None:
    """Submit, look every two seconds, keep what was made, tell of it."""
    http = clients.http
    answer = await http.post(shared.SUBMIT_URL, json=shared.request(prompt), headers=shared.HEADERS)
    answer.raise_for_status()
    url = shared.result_url(answer.json()["data"]["id"])
    while True:
        await asyncio.sleep(shared.LOOK_EVERY_S)
        answer = await http.get(url, headers=shared.HEADERS)
        answer.raise_for_status()
        data = answer.json()["data"]
        if data["status"] == "completed":
            break
    keys = []
    for index, output in enumerate(data["outputs"]):
        image = await http.get(output)
        image.raise_for_status()
        keys.append(shared.object_key(job_id, index))
        await clients.s3.upload_fileobj(
            io.BytesIO(image.content), shared.BUCKET, keys[-1], ExtraArgs={"ContentType": "image/png"}
        )
    told = await http.post(shared.WEBHOOK_URL, json=shared.event(job_id, prompt, keys))
    told.raise_for_status()
