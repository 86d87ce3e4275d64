"""The port `Bucket` on a real S3 server, and a source whose misbehaviour is spelled out byte by byte."""

import asyncio
import io
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import ip_network

import aiohttp
import pytest
from mypy_boto3_s3 import S3Client
from PIL import Image
from pydantic import SecretStr

from darkroom.network import AddressPolicy, guarded_session
from darkroom.settings import StorageSettings
from darkroom.storage import Bucket, bucket_session
from deploy.embedded.s3 import EmbeddedS3

LOOPBACK = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),))

RawAnswer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[RawAnswer], Awaitable[str]]


def settings_for(server: EmbeddedS3, bucket: str, **changes: str) -> StorageSettings:
    values = {
        "bucket": bucket,
        "endpoint_url": server.endpoint_url,
        "region": server.region,
        "access_key_id": SecretStr(server.access_key_id),
        "secret_access_key": SecretStr(server.secret_access_key),
    }
    return StorageSettings.model_validate(values | changes)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with bucket_session() as opened:
        yield opened


@pytest.fixture
async def source_session() -> AsyncIterator[aiohttp.ClientSession]:
    async with guarded_session(LOOPBACK) as opened:
        yield opened


@pytest.fixture
def settings(s3_server: EmbeddedS3, bucket: str) -> StorageSettings:
    return settings_for(s3_server, bucket)


@pytest.fixture
def store(settings: StorageSettings, session: aiohttp.ClientSession, s3: S3Client) -> Bucket:
    return Bucket(settings, session=session)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Give a function that starts a TCP server for a handler of one connection and returns its http address."""
    async with AsyncExitStack() as stack:

        async def start(answer: RawAnswer) -> str:
            async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await reader.readuntil(b"\r\n\r\n")
                    await answer(reader, writer)
                    await writer.drain()
                except (ConnectionError, asyncio.IncompleteReadError):
                    return
                finally:
                    writer.close()

            server = await asyncio.start_server(one, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/signed/secret-name"

        yield start


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = -1) -> bytes:
    """Spell out an answer; `length` -1 is the true one, None none at all."""
    said = len(body) if length == -1 else length
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    if said is not None:
        lines.append(f"Content-Length: {said}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(answer: bytes) -> RawAnswer:
    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return reply


def picture(kind: str, width: int = 640, height: int = 480, *, seed: int = 7) -> bytes:
    """Draw noise: it doesn't compress, so 640x480 make about 0.9 MB as PNG and WebP."""
    noise = random.Random(seed).randbytes(width * height * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()
