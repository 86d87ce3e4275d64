"""Webhooks at their receiver: what our sender signs is read, anything else is refused."""

import json
import time
from typing import Any

import pytest

from darkroom.batches import Batch
from darkroom.client import Job, UnreadableAnswer, WebhookEvent, WebhookRefused, verify_webhook
from darkroom.errors import ConfigurationError
from darkroom.webhooks.payload import write_payload
from darkroom.webhooks.signing import signed_headers
from tests.support.client_samples import AT, BATCH_ID, JOB_ID, batch_fields, job_fields, output_fields
from tests.support.events import OTHER_SECRET, SECRET


def receive(kind: str, data: dict[str, Any], secret: Any = SECRET, *, age_s: float = 0) -> WebhookEvent:
    whole = {"metadata": {}, "attempts": [], "outputs": [], "late_outputs": []} | data
    body = write_payload(kind, AT, whole)
    headers = signed_headers(event_id="evt_1", body=body, secrets=[SECRET], now_s=time.time() - age_s)
    return verify_webhook(body, {name.title(): value for name, value in headers.items()}, secret)


def test_an_event_of_a_job_holds_the_job() -> None:
    event = receive("job.completed", job_fields("completed", outputs=[output_fields()]))
    assert (event.id, event.type, event.truncated) == ("evt_1", "job.completed", ())
    assert event.timestamp.isoformat() == "2026-11-26T08:00:00+00:00"
    assert isinstance(event.data, Job)
    assert event.data.id == JOB_ID
    assert "SECRETSIGNATURE" not in repr(event)


def test_an_event_that_was_cut_short_says_so() -> None:
    fields = job_fields("completed", outputs=[output_fields(index) for index in range(15)])
    fields["request"] |= {"prompt": "x" * 10_000, "metadata": {"a": "b"}}
    fields["late_outputs"] = [output_fields(index, b"z" * 9) | {"attempt": 1} for index in range(60)]
    event = receive("job.completed", fields)
    assert isinstance(event.data, Job)
    assert event.truncated[0] == "request.prompt"
    assert len(event.truncated) > 1


def test_an_event_of_a_batch_holds_the_batch_and_a_new_kind_what_came() -> None:
    event = receive("batch.completed", batch_fields("completed"))
    assert isinstance(event.data, Batch)
    assert event.data.id == BATCH_ID
    assert isinstance(receive("lane.paused", {"lane": "x"}).data, dict)


def test_either_secret_of_a_rotation_fits() -> None:
    assert receive("job.completed", job_fields("completed"), [OTHER_SECRET, SECRET]).id == "evt_1"


@pytest.mark.parametrize(("secret", "age_s"), [(OTHER_SECRET, 0), ([], 0), (SECRET, 400), (SECRET, -400)])
def test_what_does_not_fit_is_refused(secret: Any, age_s: float) -> None:
    with pytest.raises(WebhookRefused):
        receive("job.completed", job_fields("completed"), secret, age_s=age_s)


@pytest.mark.parametrize("signature", ["", "nonsense", "v1", "v1,!!", "v2,abc", "v1,YWJj v1"])
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(int(time.time())), "webhook-signature": signature}
    for body in (b"{}", b"\xff"):
        with pytest.raises(WebhookRefused):
            verify_webhook(body, headers, SECRET)
    with pytest.raises(WebhookRefused):
        verify_webhook(b"{}", {}, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_a"])
def test_a_secret_that_is_none_is_not_taken_for_a_bad_signature(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="whsec_"):
        verify_webhook(b"{}", {}, secret)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"type": "x", "data": {}}', b'{"type": "job.x", "data": {"id": 1}}'])
def test_signed_nonsense_is_told_from_a_bad_signature(body: bytes) -> None:
    headers = signed_headers(event_id="evt_1", body=body, secrets=[SECRET], now_s=time.time())
    with pytest.raises(UnreadableAnswer):
        verify_webhook(body, headers, SECRET)


def test_the_raw_body_is_what_counts() -> None:
    body = write_payload("lane.paused", AT, {"a": 1})
    headers = signed_headers(event_id="evt_1", body=body, secrets=[SECRET], now_s=time.time())
    with pytest.raises(WebhookRefused):
        verify_webhook(json.dumps(json.loads(body)).encode(), headers, SECRET)
