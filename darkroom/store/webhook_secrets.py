"""What a tenant's webhooks are signed with, and whom to tell of its jobs that name nobody."""

import base64
import secrets
from dataclasses import dataclass, field

import orjson
from redis.asyncio import Redis

from darkroom.ids import new_id
from darkroom.jobs import Webhook
from darkroom.store import keys
from darkroom.store.jobs import ConflictError
from darkroom.store.scripts import Scripts

MOST_SECRETS = 10
"""Most that sign at once: each adds 50 bytes to a header of every delivery."""

SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64 random bytes."""


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret just made; told this once. Times in ms, server time."""

    secret_id: str
    secret: str = field(repr=False)
    created_ms: int


@dataclass(frozen=True, slots=True)
class KnownSecret:
    """A secret that signs; `hint` is its last four characters, `ends_ms` None: until it is replaced or revoked."""

    secret_id: str
    hint: str
    created_ms: int
    ends_ms: int | None


class WebhookSecrets:
    """Secrets and the default webhook of tenants. Every method raises redis' errors, which are retryable."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts.shared(redis)

    async def rotate(self, tenant: str, *, overlap_s: int) -> NewSecret:
        """Make a new secret; those before it, the operator's included, sign beside it for `overlap_s` more seconds.

        Raises:
            ConflictError: `too_many_secrets` would sign at once; with an overlap of 0 it always goes.
        """
        secret_id, secret = new_id("sec"), f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"
        reply = await self.scripts.call("rotate_secret", tenant, secret_id, secret, overlap_s * 1000, MOST_SECRETS)
        if int(reply[0]) != 1:
            message = f"{MOST_SECRETS} secrets sign already; revoke some, or give an overlap of 0 to replace them all"
            raise ConflictError("too_many_secrets", message)
        return NewSecret(secret_id, secret, int(reply[1]))

    async def list(self, tenant: str) -> tuple[list[KnownSecret], int | None]:
        """Give a tenant's own, newest first, and until when (ms) the operator's sign beside them (None: they do not).

        Where there is none of its own, the operator's sign for as long as that stays so.
        """
        operators_ms, *rows = await self.scripts.call("list_secrets", tenant)
        known = [KnownSecret(row[0], row[1], int(row[2]), int(row[3]) if row[3] else None) for row in rows]
        return known, int(operators_ms) if operators_ms else None

    async def revoke(self, tenant: str, secret_id: str) -> bool:
        """Let one sign nothing from now on; False: there is none with that id."""
        return int(await self.scripts.call("revoke_secret", tenant, secret_id)) == 1

    async def default_webhook(self, tenant: str) -> Webhook | None:
        """Give whom to tell of jobs without a webhook of their own; None: nobody."""
        kept = await self.redis.get(keys.webhook(tenant))
        return Webhook.model_validate_json(kept) if kept else None

    async def set_default_webhook(self, tenant: str, webhook: Webhook | None) -> bool:
        """Set it, or take it away (None); tells of everything that ends from now on. False: there was none to take."""
        if webhook is None:
            return bool(await self.redis.delete(keys.webhook(tenant)))
        body = orjson.dumps(webhook.model_dump(mode="json", exclude_defaults=True))
        await self.redis.set(keys.webhook(tenant), body)
        return True
