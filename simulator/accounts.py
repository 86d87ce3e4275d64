"""One account per API key: its balance, its rate, its slots, its predictions and its high-water marks."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from functools import lru_cache
from typing import Any

from simulator.limits import RateLimiter, SlidingSum
from simulator.predictions import MICROS, Prediction
from simulator.settings import Settings


@lru_cache(maxsize=1024)
def fingerprint(key: str) -> str:
    """Return a short name for a key that gives nothing of it away."""
    return "key-" + hashlib.sha256(key.encode()).hexdigest()[:8]


class Account:
    """State of one key, known by its fingerprint only. Times are monotonic seconds, money millionths of a USD."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.fingerprint = name
        self.balance = round(self.own(settings).get("balance", settings.balance) * MICROS)
        self.limiter = RateLimiter()
        self.images = SlidingSum()
        self.waiting: deque[Prediction] = deque()
        self.running = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.max_running = 0
        self.rate_limited = 0
        self.predictions: list[Prediction] = []

    def own(self, settings: Settings) -> dict[str, float]:
        """Return what the settings say of this account alone."""
        return next((own for key, own in settings.accounts.items() if fingerprint(key) == self.fingerprint), {})

    def rate_limit(self, settings: Settings) -> int:
        """Return its images (or requests) a minute."""
        own = self.own(settings).get("images_per_minute")
        return settings.rate_limit() if own is None else int(own)

    def concurrency_limit(self, settings: Settings) -> int:
        """Return how many of its tasks run at once."""
        own = self.own(settings).get("max_concurrency")
        return settings.concurrency_limit() if own is None else int(own)

    def refused_for_s(self, now: float, images: int, settings: Settings) -> float | None:
        """Take the rate for a submit of so many images, or return the seconds until it would fit."""
        wait_s = self.limiter.try_take(
            now,
            images if settings.rate_cost == "images" else 1,
            limit=self.rate_limit(settings),
            window_s=settings.rate_window_s,
            is_fixed=settings.rate_window == "fixed",
        )
        self.rate_limited += wait_s is not None
        return wait_s

    def admit(self, prediction: Prediction, now: float) -> None:
        """Count a created prediction and take its price."""
        self.balance -= prediction.charged
        self.images.add(now, prediction.max_images)
        self.predictions.append(prediction)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def webhook_secret(self, settings: Settings) -> str:
        """Return the secret that signs its callbacks; the same after a restart."""
        if settings.webhook_secret is not None:
            return settings.webhook_secret
        digest = hashlib.sha256(b"simulated webhook secret of " + self.fingerprint.encode()).digest()
        return "whsec_" + base64.b64encode(digest).decode()

    def stats(self, now: float, settings: Settings) -> dict[str, Any]:
        """Return its counters and marks."""
        return {
            "balance": self.balance / MICROS,
            "predictions": len(self.predictions),
            "images_last_60s": self.images.at(now),
            "max_images_in_60s": self.images.peak,
            "rate_limited": self.rate_limited,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "running": self.running,
            "max_running": self.max_running,
            "waiting": len(self.waiting),
            "limits": {
                "images_per_minute": self.rate_limit(settings),
                "max_concurrency": self.concurrency_limit(settings),
            },
        }
