"""Upstream's callbacks: are they upstream's, and what do they say.

The signature only looks like Standard Webhooks: `v3,<hex>`, HMAC-SHA256 over `id.timestamp.body`, keyed with the
secret's text after `whsec_`, not base64-decoded (wavespeed.ai/docs/verify-webhooks).
"""

import hashlib
import hmac
from collections.abc import Mapping

from darkroom.upstream.base64_scan import DocumentTooLargeError
from darkroom.upstream.errors import InvalidCallbackError
from darkroom.upstream.outcomes import Prediction
from darkroom.upstream.reading import DocumentReader
from darkroom.upstream.wire import parse_prediction

TOLERANCE_S = 300


def verify_callback(
    headers: Mapping[str, str], raw_body: bytes, secret: str, *, now_s: float, tolerance_s: float = TOLERANCE_S
) -> None:
    """Check that a callback was signed with `secret` within `tolerance_s` of now (Unix seconds), past or future.

    Raises:
        InvalidCallbackError: a header is missing or malformed, the time is off, or no signature fits.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp, signatures = (
            given[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        )
    except KeyError as error:
        raise InvalidCallbackError(f"the header {error.args[0]} is missing") from None
    key = secret.removeprefix("whsec_").encode()
    if not key:
        raise InvalidCallbackError("there is no secret to check the signature with")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise InvalidCallbackError("webhook-timestamp is not a time in Unix seconds")
    if abs(now_s - int(timestamp)) > tolerance_s:
        raise InvalidCallbackError(f"webhook-timestamp is more than {tolerance_s:g} s from now")
    signed = f"{message_id}.{timestamp}.".encode(errors="replace") + raw_body
    expected = hmac.new(key, signed, hashlib.sha256).hexdigest().encode()
    for signature in signatures.split():
        version, _, value = signature.partition(",")
        if version == "v3" and hmac.compare_digest(value.encode(errors="replace"), expected):
            return
    raise InvalidCallbackError("no v3 signature in webhook-signature fits")


def parse_callback(raw_body: bytes) -> Prediction:
    """Read the bare prediction of a callback. It is a hint: read the result again before storing anything.

    Raises:
        InvalidCallbackError: it is no JSON, or has no id.
    """
    reader = DocumentReader()
    try:
        reader.feed(raw_body)
    except DocumentTooLargeError as error:
        raise InvalidCallbackError(str(error)) from None
    document = reader.finish()
    prediction = parse_prediction(document.value)
    if prediction is None:
        raise InvalidCallbackError(document.problem or "the callback names no prediction")
    return prediction
