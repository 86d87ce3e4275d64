"""What the simulator can be told, at start and while it runs.

`Settings` holds everything that may change live through `PATCH /_simulator/settings`; `SimulatorOptions` adds what is
fixed for the life of the process. A name or value that makes no sense raises `SettingsError` and changes nothing.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

#: Images a minute and concurrent tasks of each account tier (vendor documentation; either may be overridden).
TIERS: dict[str, tuple[int, int]] = {
    "bronze": (10, 3),
    "silver": (500, 100),
    "gold": (3000, 2000),
    "ultra": (5000, 5000),
}


class SettingsError(ValueError):
    """A setting is unknown or its value is not allowed; the text says which and why."""


@dataclass
class Settings:
    """Live settings. Durations are in seconds, money in USD; `None` limits come from the tier."""

    # Inference
    seed: int = 1
    inference_min_s: float = 5.0
    inference_max_s: float = 12.0
    speed: float = 1.0

    # Account limits
    tier: Literal["bronze", "silver", "gold", "ultra"] = "ultra"
    images_per_minute: int | None = None
    max_concurrency: int | None = None
    rate_window: Literal["sliding", "fixed"] = "sliding"
    rate_window_s: float = 60.0
    rate_cost: Literal["images", "requests"] = "images"
    concurrency_style: Literal["wait", "refuse"] = "wait"
    retry_after: Literal["seconds", "date", "none"] = "seconds"

    # Accounts and money
    keys: list[str] = field(default_factory=list)
    accounts: dict[str, dict[str, float]] = field(default_factory=dict)
    balance: float = 1_000_000.0
    price_per_image_usd: float = 0.04
    refund_delay_s: float = 0.0
    insufficient_balance_style: Literal["402", "400"] = "402"

    # Answers
    error_shape: Literal["rotate", "message", "error", "html"] = "rotate"
    reject_unknown_fields: bool = True
    sync_wait_s: float = 90.0
    sync_timeout_style: Literal["processing", "504"] = "processing"
    base64_style: Literal["bare", "data_uri"] = "bare"
    execution_time: bool = True
    deleted_style: Literal["status", "404"] = "status"
    clock_offset_s: float = 0.0
    retention_s: float = 7 * 86400.0

    # List
    list_delay_s: float = 0.0
    list_input: Literal["input", "inputs", "none"] = "input"
    list_total: bool = True

    # Outputs
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_extension: str | None = None
    output_url_ttl_s: float = 7 * 86400.0
    output_url_renewed: bool = True
    image_bytes: int | None = None

    # Callbacks
    allow_http_callbacks: bool = False
    callback_verify_tls: bool = True
    callback_retries: int = 3
    callback_retry_s: float = 1.0
    callback_timeout_s: float = 10.0
    webhook_secret: str | None = None

    # Memory
    max_predictions: int = 250_000

    def rate_limit(self) -> int:
        """Return the images (or requests) a minute that an account without its own limit may submit."""
        return TIERS[self.tier][0] if self.images_per_minute is None else self.images_per_minute

    def concurrency_limit(self) -> int:
        """Return how many tasks of an account run at once unless the account has its own limit."""
        return TIERS[self.tier][1] if self.max_concurrency is None else self.max_concurrency

    def changed(self, changes: dict[str, Any]) -> Settings:
        """Return a checked copy with `changes` applied.

        Raises `SettingsError` for an unknown name, a wrong type or a range turned upside down.
        """
        hints = get_type_hints(Settings)
        for name, value in changes.items():
            if name not in hints:
                raise SettingsError(f"unknown setting '{name}'; known: {', '.join(hints)}")
            if not _fits(value, hints[name]):
                raise SettingsError(f"setting '{name}' cannot be {value!r}; it is {_spell(hints[name])}")
        merged = dataclasses.replace(self, **changes)
        merged.check()
        return merged

    def check(self) -> None:
        """Raise `SettingsError` if the values do not go together."""
        if not 0 <= self.inference_min_s <= self.inference_max_s:
            raise SettingsError("inference_min_s must be at least 0 and at most inference_max_s")
        for name in ("speed", "rate_window_s", "price_per_image_usd", "max_predictions"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"setting '{name}' must be greater than 0")
        allowed = {"balance", "images_per_minute", "max_concurrency"}
        for limits in self.accounts.values():
            if not isinstance(limits, dict) or set(limits) - allowed:
                raise SettingsError(f"setting 'accounts' maps a key to a dict with any of {sorted(allowed)}")

    def as_dict(self) -> dict[str, Any]:
        """Return every setting by name, the limits in effect included."""
        values = dataclasses.asdict(self)
        values["keys"] = len(self.keys)
        values["accounts"] = len(self.accounts)
        values["webhook_secret"] = None if self.webhook_secret is None else "(set)"
        values["effective"] = {"images_per_minute": self.rate_limit(), "max_concurrency": self.concurrency_limit()}
        return values


@dataclass(frozen=True)
class SimulatorOptions:
    """How to start a simulator: where it listens, what it is called from outside, and its first settings."""

    host: str = "127.0.0.1"
    port: int = 8787
    public_url: str | None = None
    log_level: str = "INFO"
    open_control: bool = False
    state_path: str | None = None
    settings: Settings = field(default_factory=Settings)


def _fits(value: Any, hint: Any) -> bool:
    """Say whether a JSON value is of the annotated type; an integer is also a float, a boolean is no number."""
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint) and isinstance(value, str)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if origin is list:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, (int, float)) and value == value
    return isinstance(value, hint)


def _spell(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    return str(getattr(hint, "__name__", hint)) if get_origin(hint) is None else str(hint)
