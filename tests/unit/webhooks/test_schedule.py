"""When the next attempt is due."""

from random import Random

import pytest

from darkroom.webhooks.schedule import LEAST_PATIENCE_S, next_delay_s, patience_s

SCHEDULE = (0.0, 5.0, 300.0)


@pytest.mark.parametrize("attempts_made", [0, 1, 2])
def test_the_delay_stays_within_ten_percent_of_the_schedule(attempts_made: int) -> None:
    delays = [next_delay_s(SCHEDULE, attempts_made, None, Random(seed)) for seed in range(200)]
    planned = SCHEDULE[attempts_made]
    assert all(delay is not None and 0.9 * planned <= delay <= 1.1 * planned for delay in delays)
    assert len(set(delays)) > 100 or planned == 0


@pytest.mark.parametrize("attempts_made", [3, 4])
def test_the_schedule_ends_whatever_the_receiver_asks_for(attempts_made: int) -> None:
    assert next_delay_s(SCHEDULE, attempts_made, None, Random(1)) is None
    assert next_delay_s(SCHEDULE, attempts_made, 10.0, Random(1)) is None


def test_no_attempt_comes_before_the_time_the_receiver_asked_for() -> None:
    for seed in range(200):
        delay = next_delay_s(SCHEDULE, 1, 60.0, Random(seed))
        assert delay is not None
        assert delay >= 60.0


def test_a_shorter_wish_than_the_schedule_does_not_hurry_it() -> None:
    delay = next_delay_s(SCHEDULE, 2, 1.0, Random(1))
    assert delay is not None
    assert delay >= 270.0


def test_a_receiver_can_put_off_the_next_attempt_by_a_day_at_most() -> None:
    assert next_delay_s(SCHEDULE, 1, 1e9, Random(1)) == 86_400.0


@pytest.mark.parametrize(("schedule", "patience"), [((0.0, 5.0, 300.0), 335.5), ((0.0, 1.0), LEAST_PATIENCE_S)])
def test_a_delivery_waits_for_a_failing_host_as_long_as_its_attempts_would_have_taken(
    schedule: tuple[float, ...], patience: float
) -> None:
    assert patience_s(schedule) == pytest.approx(patience)
