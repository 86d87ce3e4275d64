"""Looks come when generations usually end: few of them, soon after the end, and never where upstream would mind."""

import random
from collections.abc import Callable

import pytest

from worker.durations import ENOUGH, Durations, Usual
from worker.stages.look import LookRules

RULES = LookRules(poll_min_ms=2_000, poll_max_ms=30_000, timeout_ms=3_600_000, max_attempts=2)


def learned(*durations_ms: int) -> Usual | None:
    durations = Durations()
    for duration_ms in durations_ms:
        durations.note(duration_ms)
    return durations.usual()


def watch(end_ms: float, usual: Usual | None) -> list[int]:
    """Give when a generation that ends then is looked at, the look that sees its end the last one."""
    looks = [RULES.poll_min_ms]
    while looks[-1] < end_ms:
        looks.append(looks[-1] + RULES.delay_ms(looks[-1], usual))
    return looks


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("draw", "most_looks", "most_late_ms"),
    [
        (lambda rng: rng.uniform(30_000, 60_000), 7, 2_000),
        (lambda rng: rng.gauss(30_000, 3_000), 5, 1_500),
        (lambda rng: rng.uniform(5_000, 10_000), 4, 1_500),
        (lambda _: 30_000, 3, 2_000),
    ],
    ids=["30-60 s", "about 30 s", "5-10 s", "always 30 s"],
)
def test_few_looks_see_an_end_soon(
    draw: Callable[[random.Random], float], most_looks: float, most_late_ms: float
) -> None:
    rng = random.Random(1)
    usual = learned(*(int(draw(rng)) for _ in range(200)))
    ends = [draw(rng) for _ in range(2_000)]
    watched = [watch(end_ms, usual) for end_ms in ends]
    assert mean([len(looks) for looks in watched]) <= most_looks
    assert mean([looks[-1] - end_ms for looks, end_ms in zip(watched, ends, strict=True)]) <= most_late_ms


def test_what_is_learned_makes_no_look_later_than_the_time_waited_does_once_ends_are_expected() -> None:
    usual = learned(*[5_000] * 10, *[120_000] * 190)
    assert usual is not None
    for waited_ms in range(usual.soonest_ms, 300_000, 500):
        assert RULES.delay_ms(waited_ms, usual) <= RULES.delay_ms(waited_ms)


def test_bounds_hold_whatever_is_learned() -> None:
    for usual in (None, Usual(1, 2), Usual(500_000, 900_000), Usual(3_000, 3_000)):
        for waited_ms in range(0, 1_000_000, 1_500):
            assert RULES.poll_min_ms <= RULES.delay_ms(waited_ms, usual) <= RULES.poll_max_ms


def test_a_few_tell_nothing_and_a_change_is_learned() -> None:
    assert learned(*[30_000] * (ENOUGH - 1)) is None
    assert learned() is None
    faster = learned(*[60_000] * 200, *[10_000] * 12)
    assert faster is not None
    assert faster.soonest_ms == 10_000


def test_what_upstream_does_not_say_is_not_learned() -> None:
    durations = Durations()
    for _ in range(ENOUGH):
        durations.note(None)
        durations.note(0)
    assert durations.usual() is None
