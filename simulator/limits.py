"""Counting against a rate: exact sliding sums, and the limiter of one account.

A sliding window is half open: what was counted at `t` no longer counts at `t + window`, so any stretch shorter than
the window holds at most the limit.
"""

from __future__ import annotations

from collections import deque


class SlidingSum:
    """Sum of amounts over the last `window_s` seconds, exact to the entry; remembers its peak."""

    def __init__(self, window_s: float = 60.0) -> None:
        self.window_s = window_s
        self.peak = 0
        self._entries: deque[tuple[float, int]] = deque()
        self._sum = 0

    def at(self, now: float) -> int:
        """Return the sum at `now` (monotonic seconds, never going back)."""
        while self._entries and now - self._entries[0][0] >= self.window_s:
            self._sum -= self._entries.popleft()[1]
        return self._sum

    def add(self, now: float, amount: int) -> None:
        """Count `amount` at `now`."""
        self.at(now)
        self._entries.append((now, amount))
        self._sum += amount
        self.peak = max(self.peak, self._sum)

    def frees_in(self, now: float, room: int) -> float:
        """Return the seconds until the sum has fallen to `room` or below (0 if it has)."""
        excess = self.at(now) - room
        for when, amount in self._entries:
            if excess <= 0:
                break
            excess -= amount
            if excess <= 0:
                return max(0.0, when + self.window_s - now)
        return 0.0 if excess <= 0 else self.window_s


class RateLimiter:
    """Accept or refuse costs under a limit, over a sliding or a fixed window."""

    def __init__(self) -> None:
        self._sliding = SlidingSum()
        self._fixed_started = 0.0
        self._fixed_sum = 0

    def try_take(self, now: float, cost: int, *, limit: int, window_s: float, is_fixed: bool) -> float | None:
        """Take `cost` and return None, or return the seconds after which it would fit.

        Both windows are kept up to date, so that switching between them live forgets nothing.
        """
        self._sliding.window_s = window_s
        if now - self._fixed_started >= window_s:
            self._fixed_started = now - now % window_s
            self._fixed_sum = 0
        if is_fixed and self._fixed_sum + cost > limit:
            return self._fixed_started + window_s - now
        if not is_fixed and self._sliding.at(now) + cost > limit:
            return self._sliding.frees_in(now, limit - cost)
        self._sliding.add(now, cost)
        self._fixed_sum += cost
        return None
