"""The ingress and what every process of the service shares."""

from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from darkroom.settings.base import AreaSettings
from darkroom.settings.budget import images_for, parse_daily


class ServiceSettings(AreaSettings):
    """Address, keys, budgets and logs."""

    host: str = Field("127.0.0.1", validation_alias="DARKROOM_HOST", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65_535, validation_alias="DARKROOM_PORT", description="Port of the API.")
    public_url: str | None = Field(
        None, validation_alias="DARKROOM_PUBLIC_URL", description="How the outside reaches the API."
    )
    data_dir: Path = Field(
        Path(".darkroom"), validation_alias="DARKROOM_DATA_DIR", description="Where the embedded stack keeps its data."
    )
    log_format: Literal["console", "json"] = Field(
        "console", validation_alias="DARKROOM_LOG_FORMAT", description="How log lines look."
    )
    api_keys_text: SecretStr | None = Field(
        None, validation_alias="DARKROOM_API_KEYS", description="`tenant:key,tenant:key`."
    )
    admin_keys_text: SecretStr | None = Field(
        None,
        validation_alias="DARKROOM_ADMIN_KEYS",
        description="Operators' keys, comma-separated (`name:key` or only the key): every tenant's jobs, lanes, keys.",
    )
    auth: Literal["required", "off"] = Field(
        "required",
        validation_alias="DARKROOM_AUTH",
        description="`off` needs no key and is allowed on a loopback address only.",
    )
    max_queued_per_tenant: int = Field(
        1_000_000,
        ge=1,
        validation_alias="DARKROOM_MAX_QUEUED_PER_TENANT",
        description="Waiting jobs of a tenant beyond which it gets 429.",
    )

    daily_budget_text: str | None = Field(
        None,
        validation_alias="DARKROOM_DAILY_BUDGET_USD",
        description="What may be spent a UTC day: one amount for each tenant, or `acme:50,*:100`; unset: no budget.",
    )
    batch_budget_usd: Decimal | None = Field(
        None, validation_alias="DARKROOM_BATCH_BUDGET_USD", description="What one batch may cost; unset: no budget."
    )
    on_budget: Literal["wait", "refuse"] = Field(
        "wait",
        validation_alias="DARKROOM_ON_BUDGET",
        description="Whether a job that today's budget has no room for waits for the next day or is refused.",
    )

    @field_validator("daily_budget_text")
    @classmethod
    def _daily_budget(cls, value: str | None) -> str | None:
        if value is not None:
            parse_daily(value)
        return value

    @field_validator("batch_budget_usd")
    @classmethod
    def _batch_budget(cls, value: Decimal | None) -> Decimal | None:
        if value is not None:
            images_for(value)
        return value

    @field_validator("api_keys_text")
    @classmethod
    def _pairs(cls, value: SecretStr | None) -> SecretStr | None:
        for part in _parts(value):
            tenant, colon, key = part.partition(":")
            if not (tenant and colon and key):
                raise ValueError("must be tenant:key pairs, comma-separated")
            if not _is_name(tenant):
                raise ValueError("a tenant's name takes letters, digits, - and _ (64 at most)")
        return value

    @field_validator("admin_keys_text")
    @classmethod
    def _named(cls, value: SecretStr | None) -> SecretStr | None:
        for part in _parts(value):
            name, colon, key = part.rpartition(":")
            if not key or (colon and not _is_name(name)):
                raise ValueError("must be keys or name:key pairs, a name of letters, digits, - and _ (64 at most)")
        return value

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Self:
        if self.auth == "off" and not self.on_loopback:
            raise ValueError("DARKROOM_AUTH: off is allowed on a loopback address only; set DARKROOM_HOST=127.0.0.1")
        return self

    @model_validator(mode="after")
    def _one_key_one_caller(self) -> Self:
        """Refuse a key that stands for two: whoever comes last would win, and a tenant might become an operator."""
        tenants = {(tenant, key) for tenant, _, key in (part.partition(":") for part in _parts(self.api_keys_text))}
        operators = {(name, key) for name, _, key in (part.rpartition(":") for part in _parts(self.admin_keys_text))}
        owners: dict[str, str] = {}
        for variable, pairs in (("DARKROOM_API_KEYS", tenants), ("DARKROOM_ADMIN_KEYS", operators)):
            for name, key in sorted(pairs):
                who = name or "an operator without a name"
                if key in owners:
                    raise ValueError(f"{variable}: the same key stands for {owners[key]} and {who}; give each its own")
                owners[key] = who
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether the API listens on this machine only."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def caps(self) -> dict[str, int]:
        """The budgets in images, by tenant, `*` for every other tenant, `:batch` for a batch."""
        caps = parse_daily(self.daily_budget_text) if self.daily_budget_text else {}
        return caps | ({":batch": images_for(self.batch_budget_usd)} if self.batch_budget_usd else {})

    @property
    def api_keys(self) -> dict[str, str]:
        """Key to tenant."""
        pairs = (part.partition(":") for part in _parts(self.api_keys_text))
        return {key: tenant for tenant, _, key in pairs}

    @property
    def admin_keys(self) -> dict[str, str]:
        """Key to operator's name."""
        pairs = (part.rpartition(":") for part in _parts(self.admin_keys_text))
        return {key: name or "admin" for name, _, key in pairs}


def _is_name(text: str) -> bool:
    return text.replace("-", "").replace("_", "").isalnum() and len(text) <= 64


def _parts(value: SecretStr | None) -> list[str]:
    return [part.strip() for part in value.get_secret_value().split(",") if part.strip()] if value else []
