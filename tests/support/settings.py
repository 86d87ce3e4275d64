"""Settings for a service under test, independent of the environment."""

from typing import Any

from pydantic import SecretStr

from darkroom.settings import (
    RedisSettings,
    ServiceSettings,
    Settings,
    StorageSettings,
    UpstreamSettings,
    WebhookSettings,
)
from deploy.embedded.s3 import EmbeddedS3

ACME, UMBRA, OPERATOR = "key-of-acme", "key-of-umbra", "key-of-ops"


def service_settings(
    redis_url: str, *, s3: EmbeddedS3 | None = None, bucket: str = "darkroom", **more: Any
) -> Settings:
    """Give settings with two tenants and an operator; `more` holds fields of any area by name."""

    def chosen(area: Any) -> dict[str, Any]:
        return {name: more.pop(name) for name in list(more) if name in area.model_fields}

    service = {
        "api_keys_text": SecretStr(f"acme:{ACME},umbra:{UMBRA}"),
        "admin_keys_text": SecretStr(f"ops:{OPERATOR}"),
    } | chosen(ServiceSettings)
    storage = StorageSettings(
        bucket=bucket,
        endpoint_url=s3.endpoint_url if s3 else "http://127.0.0.1:9",
        region=s3.region if s3 else "us-east-1",
        addressing="path",
        access_key_id=SecretStr(s3.access_key_id if s3 else "id"),
        secret_access_key=SecretStr(s3.secret_access_key if s3 else "secret"),
        **chosen(StorageSettings),
    )
    settings = Settings(
        upstream=UpstreamSettings(**chosen(UpstreamSettings)),
        redis=RedisSettings(redis_url=redis_url, **chosen(RedisSettings)),
        service=ServiceSettings(**service),
        storage=storage,
        webhooks=WebhookSettings(**chosen(WebhookSettings)),
    )
    assert not more, f"no such settings: {sorted(more)}"
    return settings
