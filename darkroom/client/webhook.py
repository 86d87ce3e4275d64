"""Webhooks at their receiver: verified by the standard's own library and read as what they tell of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from darkroom.batches import Batch
from darkroom.client.answers import read_model, read_object
from darkroom.client.errors import UnreadableAnswer, WebhookRefused
from darkroom.errors import ConfigurationError
from darkroom.jobs import Job

_MODELS: dict[str, type[Job] | type[Batch]] = {"job": Job, "batch": Batch}


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event that Darkroom has signed.

    `id` is the same however often the event is sent: act once per id. `data` is a plain dict for types that this
    version does not know. `truncated` names what was cut off a large job; the API has the whole.
    """

    id: str
    type: str
    timestamp: datetime
    data: Job | Batch | dict[str, Any] = field(repr=False)
    truncated: tuple[str, ...] = ()


def verify_webhook(body: bytes, headers: Mapping[str, str], secret: str | Sequence[str]) -> WebhookEvent:
    """Verify a webhook and read it.

    Args:
        body: the raw body, as it came.
        headers: the request's headers, in any case.
        secret: `whsec_…`, or several of which one must fit, while they are changed over.

    Raises:
        WebhookRefused: not signed with that secret, or more than five minutes ago; answer 401.
        UnreadableAnswer: signed, but not an event that this version can read.
        ConfigurationError: a secret that is none.
    """
    secrets = [secret] if isinstance(secret, str) else list(secret)
    for verifier in [_verifier(one) for one in secrets]:
        try:
            verifier.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):  # ValueError: a signature that is no signature at all
            continue
        return _read(body, {name.lower(): value for name, value in headers.items()}["webhook-id"])
    raise WebhookRefused("no signature fits: another secret, a changed body, or older than five minutes")


def _verifier(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except Exception:  # the library has no common error, and its texts may show the secret
        raise ConfigurationError(["the webhook secret is not one: it begins with whsec_ and base64 follows"]) from None


def _read(body: bytes, event_id: str) -> WebhookEvent:
    event = read_object(body)
    kind, data = str(event.get("type")), event.get("data")
    if not isinstance(data, dict):
        raise UnreadableAnswer(f"the event {event_id} has no data")
    model = _MODELS.get(kind.partition(".")[0])
    try:
        at = datetime.fromisoformat(str(event.get("timestamp")))
    except ValueError:
        raise UnreadableAnswer(f"the event {event_id} has no time") from None
    return WebhookEvent(
        id=event_id,
        type=kind,
        timestamp=at,
        data=read_model(json.dumps(data).encode(), model) if model else data,
        truncated=tuple(map(str, event.get("truncated") or ())),
    )
