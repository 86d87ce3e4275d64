"""Signing and delivering completion webhooks."""

import base64
import binascii
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from darkroom.settings.base import AreaSettings, OnOff, split_commas

DEFAULT_SCHEDULE_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 36000.0)
LONGEST_STEP_S = 30 * 86_400


def _networks(value: object) -> object:
    parts = split_commas(value)
    return [ip_network(part) if isinstance(part, str) else part for part in parts] if isinstance(parts, list) else parts


class WebhookSettings(AreaSettings):
    """Secrets, the schedule and where a webhook may go."""

    secret: SecretStr | None = Field(
        None,
        validation_alias="DARKROOM_WEBHOOK_SECRET",
        description="`whsec_…`; a comma-separated list signs with each, for rotation.",
    )
    allow_networks: Annotated[list[IPv4Network | IPv6Network], NoDecode, BeforeValidator(_networks)] = Field(
        default_factory=list,
        validation_alias="DARKROOM_WEBHOOK_ALLOW_NETWORKS",
        description="CIDRs that a webhook may reach although private, over http too; "
        "a metadata service in them only if named by itself (`/32`, `/128`).",
    )
    allow_http: OnOff = Field(
        "off", validation_alias="DARKROOM_WEBHOOK_ALLOW_HTTP", description="Plain http to public addresses."
    )
    ports: Annotated[tuple[int, ...], NoDecode, BeforeValidator(split_commas)] = Field(
        (),
        validation_alias="DARKROOM_WEBHOOK_PORTS",
        description="Ports that a webhook may name, comma-separated, in the allowed networks too; empty: any.",
    )
    retry_schedule_s: Annotated[tuple[float, ...], NoDecode, BeforeValidator(split_commas)] = Field(
        DEFAULT_SCHEDULE_S,
        min_length=1,
        validation_alias="DARKROOM_WEBHOOK_RETRY_SCHEDULE",
        description="Seconds before each attempt, comma-separated.",
    )
    timeout_s: float = Field(
        15, ge=1, le=60, validation_alias="DARKROOM_WEBHOOK_TIMEOUT", description="Total time of one attempt."
    )

    @field_validator("secret")
    @classmethod
    def _wellformed(cls, value: SecretStr | None) -> SecretStr | None:
        for part in _secret_parts(value):
            if not part.startswith("whsec_"):
                raise ValueError("every secret must start with whsec_")
            try:
                decoded = base64.b64decode(part.removeprefix("whsec_"), validate=True)
            except binascii.Error as error:
                raise ValueError("after whsec_ every secret must be base64") from error
            if not decoded:
                raise ValueError("after whsec_ there must be something to sign with")
        return value

    @field_validator("ports")
    @classmethod
    def _within_range(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= port <= 65535 for port in value):
            raise ValueError("a port must be 1 to 65535")
        return value

    @field_validator("retry_schedule_s")
    @classmethod
    def _sensible(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= seconds <= LONGEST_STEP_S for seconds in value):  # NaN is neither
            raise ValueError(f"each must be 0 to {LONGEST_STEP_S} seconds")
        return value

    @property
    def secrets(self) -> list[str]:
        """Every secret that signs, the first being the newest."""
        return _secret_parts(self.secret)


def _secret_parts(value: SecretStr | None) -> list[str]:
    return [part.strip() for part in value.get_secret_value().split(",") if part.strip()] if value else []
