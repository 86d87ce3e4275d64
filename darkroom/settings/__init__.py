"""Everything that can be set from outside, one small class per area; read only where a process starts."""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from darkroom.errors import ConfigurationError
from darkroom.settings.base import AreaSettings
from darkroom.settings.redis import RedisSettings
from darkroom.settings.service import ServiceSettings
from darkroom.settings.storage import StorageSettings
from darkroom.settings.upstream import UpstreamSettings
from darkroom.settings.webhooks import WebhookSettings

__all__ = [
    "AREAS",
    "RedisSettings",
    "ServiceSettings",
    "Settings",
    "StorageSettings",
    "UpstreamSettings",
    "WebhookSettings",
    "load_settings",
]

AREAS: tuple[type[AreaSettings], ...] = (
    UpstreamSettings,
    RedisSettings,
    ServiceSettings,
    StorageSettings,
    WebhookSettings,
)

Area = TypeVar("Area", bound=AreaSettings)

_MESSAGES = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "decimal_parsing": "must be a number",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "literal_error": "must be one of {expected}",
    "string_too_short": "must not be empty",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All areas together, as a process start reads them."""

    upstream: UpstreamSettings
    redis: RedisSettings
    service: ServiceSettings
    storage: StorageSettings
    webhooks: WebhookSettings


def load_settings() -> Settings:
    """Read every area from the environment and `.env`.

    Raises:
        ConfigurationError: all wrong variables at once, one line each.
    """
    problems: list[str] = []

    def read(area: type[Area]) -> Area | None:
        try:
            return area()
        except ValidationError as error:
            problems.extend(_lines(error))
            return None

    upstream, redis, service = read(UpstreamSettings), read(RedisSettings), read(ServiceSettings)
    storage, webhooks = read(StorageSettings), read(WebhookSettings)
    if upstream is None or redis is None or service is None or storage is None or webhooks is None:
        raise ConfigurationError(problems)
    if upstream.callbacks == "on" and not (service.public_url or "").startswith("https://"):
        raise ConfigurationError(["WAVESPEED_CALLBACKS: on needs an https DARKROOM_PUBLIC_URL"])
    return Settings(upstream=upstream, redis=redis, service=service, storage=storage, webhooks=webhooks)


def _lines(error: ValidationError) -> list[str]:
    """Give one line a variable: of a wrong list the first of its wrong entries says enough."""
    lines: dict[str, str] = {}
    for item in error.errors(include_url=False, include_input=False):
        template = _MESSAGES.get(item["type"])
        message = template.format(**item.get("ctx", {})) if template else item["msg"].removeprefix("Value error, ")
        variable = str(item["loc"][0]) if item["loc"] else ""
        lines.setdefault(variable or message, f"{variable}: {message}" if variable else message)
    return list(lines.values())
