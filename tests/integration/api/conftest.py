"""One API on a real Valkey and a real S3 server for all these tests; each starts with an empty store."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from mypy_boto3_s3 import S3Client

from api.app import create_app
from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from tests.support.api import RunningApi, running_api
from tests.support.by_hand import ByHand
from tests.support.s3 import s3_client
from tests.support.settings import ACME, OPERATOR, UMBRA, service_settings
from tests.support.waiting import wait_until

BUCKET = "api-tests"


@pytest.fixture(scope="session")
def api_server(valkey_server: EmbeddedValkey, s3_server: EmbeddedS3) -> Iterator[RunningApi]:
    client = s3_client(s3_server)
    client.create_bucket(Bucket=BUCKET)
    client.close()
    settings = service_settings(valkey_server.url, s3=s3_server, bucket=BUCKET, max_queued_per_tenant=60)
    with running_api(create_app(settings)) as running:
        yield running


@pytest.fixture
def api(api_server: RunningApi, redis_url: str) -> Iterator[RunningApi]:
    yield api_server
    wait_until(lambda: api_server.is_idle, what="the last wake-up call, which the next test must not find")


@pytest.fixture
def acme(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(ACME) as client:
        yield client


@pytest.fixture
def umbra(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(UMBRA) as client:
        yield client


@pytest.fixture
def operator(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(OPERATOR) as client:
        yield client


@pytest.fixture
def by_hand(redis_url: str) -> ByHand:
    return ByHand(redis_url)


@pytest.fixture
def run_command(api: RunningApi, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Give a function that runs `darkroom …` as an operator types it, in an empty directory."""

    def run(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("DARKROOM_", "WAVESPEED_"))}
        known = {"DARKROOM_PUBLIC_URL": api.url, "DARKROOM_ADMIN_KEYS": f"ops:{OPERATOR}"}
        return subprocess.run(
            [sys.executable, "-m", "darkroom.cli", *arguments],
            cwd=tmp_path,
            env=ours | known | env,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def s3_object(s3: S3Client) -> str:
    """Store one object and give its key."""
    s3.put_object(Bucket=BUCKET, Key="2026/11/22/fox.png", Body=b"png")
    return "2026/11/22/fox.png"
