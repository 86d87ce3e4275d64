"""What a batch says of the time that is left: by the account's limits at first, then by how fast it went."""

from typing import Any

import pytest

from darkroom.store.batch_ids import new_batch_id
from darkroom.store.batch_view import GENERATION_S, batch_view
from darkroom.store.batches import BatchRecord

BEGUN_MS = 1_000_000


def seconds_left(*, minutes: float = 0.0, rate: int = 60, **counts: Any) -> int | None:
    """Show a batch of 100 jobs with 200 images so long after it was accepted."""
    fields = {"status": "running", "total": "100", "images": "200", "metadata": "{}", "linked_ms": str(BEGUN_MS)}
    fields |= {f"n:{status}": str(count) for status, count in counts.items()}
    now_ms = BEGUN_MS + int(minutes * 60_000)
    shown = batch_view(BatchRecord(new_batch_id(), fields), now_ms=now_ms, images_per_minute=rate)
    left = shown["estimated_seconds_left"]
    return None if left is None else int(left)


def test_at_first_the_accounts_rate_and_what_a_generation_takes_say_it() -> None:
    assert seconds_left(queued=100) == 200 + GENERATION_S
    assert seconds_left(queued=96, completed=4) == 192 + GENERATION_S


def test_then_the_pace_so_far_does() -> None:
    assert seconds_left(minutes=10, queued=60, completed=20, failed=10, canceled=10) == 900


@pytest.mark.parametrize("rate", [1, 60, 6_000_000])
def test_what_goes_on_has_some_time_left(rate: int) -> None:
    assert seconds_left(rate=rate, queued=100)


def test_nothing_is_said_where_nothing_tells() -> None:
    assert seconds_left(rate=0, queued=100) is None
