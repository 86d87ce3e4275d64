"""The public libraries verify what is sent, unchanged: `standardwebhooks` and both majors of `svix` from npm."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.webhooks.signing import signed_headers
from tests.support import npm
from tests.support.events import BODIES, OTHER_SECRET, SECRET

HERE = Path(__file__).parent / "node"
Case = dict[str, Any]
Verify = Callable[[list[Case]], list[str | None]]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = npm.install(HERE, tmp_path_factory.mktemp("npm"))
    shutil.copy(HERE / "verify.mjs", directory)
    return directory


@pytest.fixture(params=["standardwebhooks", "svix", "svix-1"])
def verify(packages: Path, request: pytest.FixtureRequest) -> Verify:
    """Give a function that lets one library verify cases: None for each that it does, else its error's name."""

    def run(cases: list[Case]) -> list[str | None]:
        done = subprocess.run(
            ["node", "verify.mjs", request.param],
            cwd=packages,
            input=json.dumps(cases),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        results: list[str | None] = json.loads(done.stdout)
        assert len(results) == len(cases)
        return results

    return run


def case(secret: str, body: bytes, headers: dict[str, str]) -> Case:
    return {"secret": secret, "body": base64.b64encode(body).decode(), "headers": headers}


def test_each_secret_alone_verifies_every_body(verify: Verify) -> None:
    cases = [
        case(secret, body, signed_headers(event_id="evt_1", body=body, secrets=signing, now_s=time.time()))
        for body in BODIES.values()
        for signing in ([SECRET], [OTHER_SECRET, SECRET])
        for secret in signing
    ]
    assert verify(cases) == [None] * 9


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_what_is_not_genuine_is_refused(verify: Verify, body: bytes) -> None:
    headers = signed_headers(event_id="evt_1", body=body, secrets=[SECRET], now_s=time.time())
    old = signed_headers(event_id="evt_1", body=body, secrets=[SECRET], now_s=time.time() - 330)
    cases = [
        case(SECRET, body, headers),
        case(OTHER_SECRET, body, headers),
        case(SECRET, body.replace(b"completed", b"failed", 1), headers),
        case(SECRET, body, headers | {"webhook-id": "evt_2"}),
        case(SECRET, body, old),
    ]
    assert verify(cases) == [None, *["WebhookVerificationError"] * 4]
