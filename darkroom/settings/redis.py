"""Where the records live and how Celery's messages travel."""

from pydantic import Field, field_validator

from darkroom.settings.base import AreaSettings

BROKER_SCHEMES = ("redis://", "rediss://", "sentinel://", "amqp://", "amqps://")


class RedisSettings(AreaSettings):
    """The one Redis (Valkey) of a cell, and the broker."""

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", validation_alias="DARKROOM_REDIS_URL", description="The store of all jobs."
    )
    broker_url_override: str | None = Field(
        None, validation_alias="DARKROOM_BROKER_URL", description="Celery's broker; default: the Redis one."
    )
    job_ttl_s: int = Field(
        604_800,
        ge=1,
        validation_alias="DARKROOM_JOB_TTL_SECONDS",
        description="How long a finished job is kept; the bucket's `job.json` stays.",
    )
    compact_after_s: int = Field(
        86_400,
        ge=0,
        validation_alias="DARKROOM_COMPACT_AFTER_SECONDS",
        description="How long after its end a completed job shrinks to what its answer shows, and the records of its "
        "delivered webhooks go; 0: never.",
    )
    replicas_ack: int = Field(
        0,
        ge=0,
        le=10,
        validation_alias="DARKROOM_REDIS_REPLICAS_ACK",
        description="How many replicas must have an accepted job, an intent and an id before they count.",
    )

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str) -> str:
        if not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @field_validator("broker_url_override")
    @classmethod
    def _broker(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(BROKER_SCHEMES):
            raise ValueError(f"must start with one of {', '.join(BROKER_SCHEMES)}")
        return value

    @property
    def broker_url(self) -> str:
        """The broker in force."""
        return self.broker_url_override or self.redis_url
