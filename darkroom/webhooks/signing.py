"""Standard Webhooks headers (https://www.standardwebhooks.com), made with the standard's own library."""

from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook


def signed_headers(*, event_id: str, body: bytes, secrets: Sequence[str], now_s: float) -> dict[str, str]:
    """Make `webhook-id`, `webhook-timestamp` and `webhook-signature` for one attempt.

    Every secret (`whsec_…`) signs, so that a receiver can verify with the old or the new one while they rotate. The
    timestamp is the attempt's, not the event's: receivers refuse what is more than five minutes off.

    Raises:
        ValueError: no secret at all.
    """
    if not secrets:
        raise ValueError("a webhook needs at least one secret to sign with")
    moment = datetime.fromtimestamp(int(now_s), tz=UTC)
    text = body.decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now_s)),
        "webhook-signature": " ".join(Webhook(secret).sign(event_id, moment, text) for secret in secrets),
    }
