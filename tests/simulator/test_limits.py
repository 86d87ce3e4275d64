"""Rate, concurrency, money: what an account may do, exactly."""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime

import pytest

from simulator.fates import draw_duration_s
from simulator.limits import RateLimiter, SlidingSum
from simulator.settings import Settings
from simulator.testing import RunningSimulator
from tests.simulator.helpers import Client


def test_no_sixty_seconds_ever_hold_more_than_the_limit() -> None:
    limiter, rng, accepted, now = RateLimiter(), random.Random(7), [], 1000.0
    for _ in range(3000):
        now += rng.expovariate(2.0)
        cost = rng.randint(1, 15)
        if limiter.try_take(now, cost, limit=100, window_s=60.0, is_fixed=False) is None:
            accepted.append((now, cost))
    sums = [sum(cost for when, cost in accepted if start <= when < start + 60) for start, _ in accepted]
    assert max(sums) <= 100
    assert max(sums) > 90, "a limiter that refuses everything would pass too"


def test_the_wait_of_a_refusal_is_exact_for_the_sliding_window() -> None:
    limiter = RateLimiter()
    for when in (0.0, 10.0, 20.0):
        assert limiter.try_take(when, 4, limit=12, window_s=60.0, is_fixed=False) is None
    wait_s = limiter.try_take(30.0, 8, limit=12, window_s=60.0, is_fixed=False)
    assert wait_s == 40.0
    assert limiter.try_take(69.9, 8, limit=12, window_s=60.0, is_fixed=False) is not None
    assert limiter.try_take(70.0, 8, limit=12, window_s=60.0, is_fixed=False) is None


def test_a_fixed_minute_starts_anew_at_the_full_minute() -> None:
    limiter = RateLimiter()
    assert limiter.try_take(119.0, 10, limit=10, window_s=60.0, is_fixed=True) is None
    assert limiter.try_take(119.5, 1, limit=10, window_s=60.0, is_fixed=True) == 0.5
    assert limiter.try_take(120.0, 10, limit=10, window_s=60.0, is_fixed=True) is None


def test_a_sliding_sum_remembers_its_peak() -> None:
    images = SlidingSum(60.0)
    for when in (0.0, 1.0, 60.0, 61.5):
        images.add(when, 5)
    assert images.peak == 10
    assert images.at(200.0) == 0


def test_past_the_rate_a_submit_is_refused_and_costs_nothing(client: Client, sim: RunningSimulator) -> None:
    sim.settings(images_per_minute=10)
    client.created(max_images=9)
    refused = client.submit(max_images=2)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    client.created(max_images=1)
    stats = sim.stats()
    assert (stats["rate_limited"], stats["max_images_in_60s"]) == (1, 10)
    assert sim.ledger()["totals"] == {"predictions": 2, "images": 10, "charged_usd": 0.4, "refunded_usd": 0.0}


def test_a_request_can_count_as_one(client: Client, sim: RunningSimulator) -> None:
    sim.settings(images_per_minute=2, rate_cost="requests")
    client.created(max_images=15)
    client.created(max_images=15)
    assert client.submit(max_images=1).status_code == 429


def test_retry_after_is_seconds_a_date_or_nothing(client: Client, sim: RunningSimulator) -> None:
    sim.settings(images_per_minute=0)
    assert client.submit().headers["Retry-After"].isdigit()
    sim.settings(retry_after="date")
    assert parsedate_to_datetime(client.submit().headers["Retry-After"])
    sim.settings(retry_after="none")
    assert "Retry-After" not in client.submit().headers


def test_past_the_concurrency_tasks_wait_in_order(client: Client, sim: RunningSimulator) -> None:
    sim.settings(max_concurrency=2)
    ids = [client.created(f"{number} [[sim:inference=600]]") for number in range(4)]
    assert [client.look(one)["status"] for one in ids] == ["processing", "processing", "created", "created"]
    sim.complete(ids[1])
    assert [client.look(one)["status"] for one in ids] == ["processing", "completed", "processing", "created"]
    stats = sim.stats()
    assert (stats["in_flight"], stats["running"], stats["waiting"]) == (3, 2, 1)
    assert (stats["max_in_flight"], stats["max_running"]) == (4, 2)
    sim.settings(max_concurrency=5)
    assert client.look(ids[3])["status"] == "processing"


def test_past_the_concurrency_a_strict_account_is_refused(client: Client, sim: RunningSimulator) -> None:
    sim.settings(max_concurrency=1, concurrency_style="refuse")
    client.created("a [[sim:inference=600]]")
    assert client.submit().status_code == 429


@pytest.mark.parametrize(("style", "status"), [("402", 402), ("400", 400)])
def test_without_money_a_submit_is_refused(client: Client, sim: RunningSimulator, style: str, status: int) -> None:
    sim.settings(balance=0.1, insufficient_balance_style=style)
    client.created(max_images=2)
    refused = client.submit()
    assert refused.status_code == status
    assert "insufficient balance" in refused.text
    assert client.balance() == pytest.approx(0.02)


def test_a_failed_task_is_refunded_at_once_or_later(client: Client, sim: RunningSimulator) -> None:
    before = client.balance()
    client.done(client.created("a [[sim:fail=5000]]"))
    assert client.balance() == before
    sim.settings(refund_delay_s=3 * 3600)
    client.done(client.created("b [[sim:fail=5000]]"))
    assert client.balance() == pytest.approx(before - 0.04)
    sim.settings(refund_delay_s=0.05)
    client.done(client.created("c [[sim:fail=5000]]"))
    sim.wait_until(lambda: client.balance() == pytest.approx(before - 0.04))


def test_an_account_can_have_its_own_limits(client: Client, sim: RunningSimulator) -> None:
    sim.settings(accounts={"test-key": {"images_per_minute": 3, "balance": 0.08}})
    client.created(max_images=2)
    assert client.balance() == 0
    assert client.submit(max_images=1).status_code == 402


def test_tiers_set_the_limits(sim: RunningSimulator) -> None:
    effective = sim.settings(tier="bronze")["effective"]
    assert effective == {"images_per_minute": 10, "max_concurrency": 3}


def test_inference_times_repeat_with_the_seed_and_grow_with_the_images() -> None:
    def draw(seed: int, images: int) -> list[float]:
        return [draw_duration_s(Settings(seed=seed), order, images) for order in range(300)]

    assert draw(1, 4) == draw(1, 4) != draw(2, 4)
    assert all(5.0 <= duration <= 12.0 for duration in draw(1, 15))
    assert sum(draw(1, 15)) > sum(draw(1, 1))
