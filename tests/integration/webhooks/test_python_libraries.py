"""The public libraries verify what is sent, unchanged: `standardwebhooks` and `svix` for Python."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from darkroom.webhooks.signing import signed_headers
from tests.support.events import BODIES, OTHER_SECRET, SECRET

Library = Callable[[str], Any]

each_library = pytest.mark.parametrize(
    "library", [standardwebhooks.Webhook, svix.webhooks.Webhook], ids=["standardwebhooks", "svix"]
)
each_body = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())


@each_library
@each_body
@pytest.mark.parametrize("secrets", [[SECRET], [OTHER_SECRET, SECRET]], ids=["one secret", "two secrets"])
def test_each_secret_alone_verifies(library: Library, body: bytes, secrets: list[str]) -> None:
    headers = signed_headers(event_id="evt_1", body=body, secrets=secrets, now_s=time.time())
    for secret in secrets:
        library(secret).verify(body, headers)


@each_library
@each_body
def test_what_is_not_genuine_is_refused(library: Library, body: bytes) -> None:
    headers = signed_headers(event_id="evt_1", body=body, secrets=[SECRET], now_s=time.time())
    old = signed_headers(event_id="evt_1", body=body, secrets=[SECRET], now_s=time.time() - 301)
    for secret, got, said in (
        (OTHER_SECRET, body, headers),
        (SECRET, body.replace(b"completed", b"failed", 1), headers),
        (SECRET, body, headers | {"webhook-id": "evt_2"}),
        (SECRET, body, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
        (SECRET, body, old),
    ):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            library(secret).verify(got, said)
