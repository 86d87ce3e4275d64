"""Real servers for the tests, and an environment that holds none of the developer's own settings.

A server that is missing fails the test that needs it; nothing is skipped.
"""

import os
import uuid
from collections.abc import Iterator

import pytest
import redis
from mypy_boto3_s3 import S3Client

from darkroom.settings import AREAS
from deploy.embedded.s3 import EmbeddedS3, embedded_s3
from deploy.embedded.valkey import EmbeddedValkey, embedded_valkey
from tests.support.s3 import s3_client

_OURS = ("DARKROOM_", "WAVESPEED_", "AWS_", "RCLONE_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away every setting of the developer's shell, `.env` and AWS profile."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    for area in AREAS:
        monkeypatch.setitem(area.model_config, "env_file", None)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """Run one real Valkey for this pytest process, durable as in production."""
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def redis_url(valkey_server: EmbeddedValkey) -> str:
    """Give the address of an empty Valkey; restart it first if the test before killed it."""
    if valkey_server.process.poll() is not None:
        valkey_server.start()
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """Give a client of an empty Valkey that decodes answers to text."""
    with redis.Redis.from_url(redis_url, decode_responses=True, encoding_errors="surrogateescape") as client:
        yield client


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """Run one real S3 server for this pytest process."""
    with embedded_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: EmbeddedS3) -> Iterator[S3Client]:
    """Give a boto3 client of the S3 server; restart the server first if the test before killed it."""
    if s3_server.process.poll() is not None:
        s3_server.start()
    client = s3_client(s3_server)
    yield client
    client.close()


@pytest.fixture
def bucket(s3: S3Client) -> str:
    """Make an empty bucket of the test's own and give its name."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name
