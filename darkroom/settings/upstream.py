"""The upstream account: where it is, what it allows, and how long its answers are waited for."""

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from darkroom.settings.base import AreaSettings, OnOff

Tier = Literal["bronze", "silver", "gold", "ultra"]

TIER_LIMITS: dict[str, tuple[int, int]] = {
    "bronze": (10, 3),
    "silver": (500, 100),
    "gold": (3_000, 2_000),
    "ultra": (5_000, 5_000),
}
"""Images a minute and concurrent tasks of each tier (WaveSpeed's account-limits page)."""


class UpstreamSettings(AreaSettings):
    """One WaveSpeed account and the patience with it."""

    api_key: SecretStr | None = Field(
        None, validation_alias="WAVESPEED_API_KEY", description="The account's key; unset, `make run` simulates."
    )
    base_url: str = Field(
        "https://api.wavespeed.ai", validation_alias="WAVESPEED_BASE_URL", description="Where the API is."
    )
    tier: Tier = Field(
        "bronze",
        validation_alias="WAVESPEED_TIER",
        description="The account's tier; a guess too high costs refusals, so the lowest is the default.",
    )
    images_per_minute_override: int | None = Field(
        None, ge=1, validation_alias="WAVESPEED_IMAGES_PER_MINUTE", description="Overrides the tier's rate."
    )
    max_concurrency_override: int | None = Field(
        None, ge=1, validation_alias="WAVESPEED_MAX_CONCURRENCY", description="Overrides the tier's concurrency."
    )
    rate_cost: Literal["images", "requests"] = Field(
        "images",
        validation_alias="WAVESPEED_RATE_COST",
        description="Whether a request counts its `max_images` or one against the rate.",
    )
    callbacks: OnOff = Field(
        "off",
        validation_alias="WAVESPEED_CALLBACKS",
        description="`on` lets WaveSpeed call back; needs an https DARKROOM_PUBLIC_URL.",
    )
    submit_timeout_s: float = Field(
        60,
        ge=1,
        le=600,
        validation_alias="DARKROOM_SUBMIT_TIMEOUT_SECONDS",
        description="How long the submit's answer is waited for before it is unknown.",
    )
    reconcile_window_s: float = Field(
        120,
        ge=1,
        le=86_400,
        validation_alias="DARKROOM_RECONCILE_WINDOW_SECONDS",
        description="Looked for that long, an absent prediction counts as never created.",
    )
    on_absent: Literal["resubmit", "hold"] = Field(
        "resubmit",
        validation_alias="DARKROOM_ON_ABSENT",
        description="What to do with a job whose lost submit surely created nothing.",
    )
    max_attempts: int = Field(
        2,
        ge=1,
        le=10,
        validation_alias="DARKROOM_MAX_ATTEMPTS",
        description="Attempts of a job in all when upstream fails one for a transient reason.",
    )
    max_submits: int = Field(
        5,
        ge=1,
        le=100,
        validation_alias="DARKROOM_MAX_SUBMITS",
        description="POSTs per attempt that turn out never to have created anything.",
    )
    max_unstored_images: int = Field(
        5_000,
        ge=1,
        validation_alias="DARKROOM_MAX_UNSTORED_IMAGES",
        description="Paid images waiting for the bucket beyond which no more is admitted.",
    )
    output_grace_s: float = Field(
        600,
        ge=1,
        validation_alias="DARKROOM_OUTPUT_GRACE_SECONDS",
        description="How long an output that upstream names but does not have is retried before the job fails.",
    )
    lane_probe_s: float = Field(
        15, ge=1, validation_alias="DARKROOM_LANE_PROBE_SECONDS", description="How often a paused lane is tried."
    )
    poll_min_s: float = Field(
        2.0,
        ge=0.05,
        validation_alias="DARKROOM_POLL_MIN_SECONDS",
        description="Shortest time between two looks at a prediction; WaveSpeed asks for at least 2 s.",
    )
    poll_max_s: float = Field(
        30, ge=0.05, validation_alias="DARKROOM_POLL_MAX_SECONDS", description="Longest time between two looks."
    )
    generation_timeout_s: float = Field(
        86_400,
        ge=1,
        validation_alias="DARKROOM_GENERATION_TIMEOUT_SECONDS",
        description="How long upstream may take before the job fails with `generation_timeout`.",
    )

    @field_validator("base_url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.poll_min_s > self.poll_max_s:
            raise ValueError("DARKROOM_POLL_MIN_SECONDS: must not exceed DARKROOM_POLL_MAX_SECONDS")
        return self

    @property
    def images_per_minute(self) -> int:
        """The rate in force: the override, or the tier's."""
        return self.images_per_minute_override or TIER_LIMITS[self.tier][0]

    @property
    def max_concurrency(self) -> int:
        """The concurrency in force: the override, or the tier's."""
        return self.max_concurrency_override or TIER_LIMITS[self.tier][1]
