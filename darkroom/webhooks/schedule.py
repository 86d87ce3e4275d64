"""When a delivery that failed is tried again."""

from collections.abc import Sequence
from random import Random

JITTER = 0.1
MAX_RETRY_AFTER_S = 86_400.0


LEAST_PATIENCE_S = 15.0


def patience_s(schedule: Sequence[float]) -> float:
    """Give how long a delivery may wait for a host that fails: as long as all its attempts would have taken."""
    return max(sum(schedule) * (1 + JITTER), LEAST_PATIENCE_S)


def next_delay_s(
    schedule: Sequence[float], attempts_made: int, retry_after_s: float | None, rng: Random
) -> float | None:
    """Give the seconds until the next attempt; None once the schedule is exhausted.

    `schedule` holds the seconds before each attempt, the first included. The jitter is 10 % either way; a
    `Retry-After` is never undercut, but waited for a day at most.
    """
    if attempts_made >= len(schedule):
        return None
    delay_s = schedule[attempts_made] * rng.uniform(1 - JITTER, 1 + JITTER)
    if retry_after_s is None:
        return delay_s
    return max(delay_s, min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S))
