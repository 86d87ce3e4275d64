"""The signature that receivers verify with the public library."""

import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from darkroom.webhooks.signing import signed_headers

OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = json.dumps({"type": "job.completed", "data": {"prompt": "Füchse 🦊"}}, ensure_ascii=False).encode()


def test_the_signature_is_the_one_of_the_standards_own_example() -> None:
    # standard-webhooks, spec/standard-webhooks.md and the libraries' shared test vector.
    headers = signed_headers(
        event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        body=b'{"test": 2432232314}',
        secrets=[OLD],
        now_s=1614265330,
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_the_public_library_verifies_with_either_secret_of_a_rotation(secret: str) -> None:
    headers = signed_headers(event_id="evt_1", body=BODY, secrets=[NEW, OLD], now_s=time.time())
    assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)


def test_the_public_library_refuses_a_changed_body() -> None:
    headers = signed_headers(event_id="evt_1", body=BODY, secrets=[NEW], now_s=time.time())
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY.replace(b"completed", b"failed"), headers)


def test_every_attempt_has_its_own_time_and_the_same_id() -> None:
    first, second = (signed_headers(event_id="evt_1", body=BODY, secrets=[NEW], now_s=now) for now in (1e9, 1e9 + 60))
    assert first["webhook-id"] == second["webhook-id"] == "evt_1"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert first["webhook-signature"] != second["webhook-signature"]


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="secret"):
        signed_headers(event_id="evt_1", body=BODY, secrets=[], now_s=1e9)
