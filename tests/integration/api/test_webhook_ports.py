"""An operator's list of webhook ports: what is not on it is refused when it is asked for."""

from collections.abc import Iterator

import httpx
import pytest

from api.app import create_app
from deploy.embedded.s3 import EmbeddedS3
from tests.support.api import running_api
from tests.support.settings import ACME, service_settings


@pytest.fixture
def acme(redis_url: str, s3_server: EmbeddedS3) -> Iterator[httpx.Client]:
    settings = service_settings(redis_url, s3=s3_server, ports=(443, 8443))
    with running_api(create_app(settings)) as api, api.client(ACME) as client:
        yield client


def test_a_webhook_to_another_port_is_refused_and_told_which_ports_there_are(acme: httpx.Client) -> None:
    answer = acme.post("/v1/jobs", json={"prompt": "x", "webhook": {"url": "https://example.com:6379/hook"}})
    assert answer.status_code == 422
    assert answer.json()["code"] == "validation_error"
    assert answer.json()["errors"] == [
        {"loc": ["body", "webhook", "url"], "msg": "port 6379 is not allowed; allowed: 443, 8443"}
    ]
    assert acme.get("/v1/jobs").json()["data"] == []


def test_a_default_webhook_to_another_port_is_refused(acme: httpx.Client) -> None:
    answer = acme.put("/v1/webhooks/default", json={"url": "https://example.com:6379/hook"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "url"]


@pytest.mark.parametrize("url", ["https://example.com/hook", "https://example.com:8443/hook"])
def test_a_webhook_to_a_listed_port_is_taken(acme: httpx.Client, url: str) -> None:
    assert acme.post("/v1/jobs", json={"prompt": "x", "webhook": {"url": url}}).status_code == 202
