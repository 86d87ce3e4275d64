"""Upstream calls back: few looks, the webhook at once, and nothing lost whatever becomes of the callbacks.

Upstream calls the real ingress through a TLS front, whose certificate the simulator is told not to judge.
"""

from collections.abc import Callable
from typing import Any

import pytest

from darkroom.store import keys
from simulator.testing import RunningSimulator
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

MakeFleet = Callable[..., Fleet]
LONG_S = 60
"""The longest time between two looks: what ends before that was told of by a callback."""


def started(make_fleet: MakeFleet, simulator: RunningSimulator, **settings: Any) -> Fleet:
    simulator.settings(callback_verify_tls=False, callback_retry_s=0.05)
    fleet = make_fleet(**({"DARKROOM_POLL_MAX_SECONDS": LONG_S} | settings))
    fleet.call_back()
    fleet.start_worker()
    fleet.start_api()
    return fleet


def looks_at(simulator: RunningSimulator, prompt: str) -> list[int]:
    return [entry["looks"] for entry in simulator.predictions(prompt)]


def totals(fleet: Fleet) -> dict[str, str]:
    return fleet.redis.hgetall(keys.TOTALS)  # type: ignore[return-value]


def test_one_look_is_enough_and_the_webhook_follows_the_callback(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet, fresh_simulator)
    jobs = [fleet.submit(f"a called fox {i}", webhook={"url": fleet.receiver.url}) for i in range(8)]
    ended = fleet.wait_for_all(jobs, timeout_s=LONG_S / 2)
    assert {(job["status"], job["submits"]) for job in ended} == {("completed", 1)}
    assert looks_at(fresh_simulator, "a called fox") == [1] * 8
    wait_until(lambda: all(fleet.receiver.of_job(job_id) for job_id in jobs))
    assert totals(fleet)["callbacks"] == "8"
    assert "callbacks_missed" not in totals(fleet)
    metrics = fleet.client.get("/metrics").text
    assert 'darkroom_events_total{kind="callbacks"} 8.0' in metrics
    assert 'route="/v1/upstream/callback/{token}",status="204"' in metrics


def test_failures_are_told_of_as_well(make_fleet: MakeFleet, fresh_simulator: RunningSimulator) -> None:
    fleet = started(make_fleet, fresh_simulator)
    job = fleet.wait_for(fleet.submit("a rude fox [[sim:fail=1200]]"), timeout_s=LONG_S / 2)
    assert (job["status"], job["error"]["code"]) == ("failed", "content_moderation")
    assert looks_at(fresh_simulator, "a rude fox") == [1]


@pytest.mark.parametrize("mark", ["callback_duplicate=3", "callback_before_answer", "callback_late=0.5"])
def test_callbacks_that_come_twice_early_or_late_do_what_one_does(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator, mark: str
) -> None:
    fleet = started(make_fleet, fresh_simulator)
    job_id = fleet.submit(f"an odd fox [[sim:{mark}]]", max_images=2)
    job = fleet.wait_for(job_id, timeout_s=LONG_S / 2)
    assert (job["status"], job["submits"], job["cost"]["spent"]) == ("completed", 1, 0.08)
    wanted = 3 if "duplicate" in mark else 1
    wait_until(lambda: fresh_simulator.stats()["callbacks"]["delivered"] == wanted)
    assert fleet.job(job_id)["status"] == "completed"
    assert fresh_simulator.ledger("an odd fox")["totals"]["predictions"] == 1
    assert totals(fleet)["callbacks"] == "1"


@pytest.mark.parametrize("mark", ["callback_never", "callback_bad_signature", "callback_stale"])
def test_jobs_complete_without_a_callback_and_looks_become_frequent_until_one_comes(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator, mark: str
) -> None:
    fleet = started(make_fleet, fresh_simulator, DARKROOM_POLL_MAX_SECONDS=2)
    fault = fresh_simulator.fault(mark)
    ended = fleet.wait_for_all([fleet.submit(f"a silent fox {i}") for i in range(3)])
    assert {(job["status"], job["submits"]) for job in ended} == {("completed", 1)}
    assert looks_at(fresh_simulator, "a silent fox") == [1] * 3, "looked at only after the longest time"
    assert "callbacks" not in totals(fleet)
    doubted = fleet.wait_for(fleet.submit("a doubted fox [[sim:inference=1.5]]"))
    assert doubted["status"] == "completed"
    assert looks_at(fresh_simulator, "a doubted fox")[0] > 2, "looked at as often as without callbacks"
    fresh_simulator.clear_faults(fault)
    fleet.wait_for(fleet.submit("a fox that is called about"))
    wait_until(lambda: totals(fleet).get("callbacks") == "1", what="its callback")
    assert fleet.redis.hget(keys.lane("default"), "callback_misses") is None


def test_a_lost_submit_is_settled_by_its_callback_and_nothing_is_listed(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet, fresh_simulator)
    jobs = [fleet.submit(f"a lost fox {i} [[sim:lost_answer]]") for i in range(2)]
    ended = fleet.wait_for_all(jobs, timeout_s=LONG_S / 2)
    assert {(job["status"], job["submits"]) for job in ended} == {("completed", 1)}
    assert fresh_simulator.ledger("a lost fox")["totals"]["predictions"] == 2
    assert fresh_simulator.stats()["requests"].get("list", 0) == 0


def test_a_callback_while_the_store_or_the_worker_is_away_is_made_up_for(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    """Nobody answers the callback, and the safety net finds what is completed."""
    fleet = started(make_fleet, fresh_simulator, DARKROOM_POLL_MAX_SECONDS=2)
    api = fleet._processes[-1]
    job_id = fleet.submit("a fox called in vain")
    api.kill()
    wait_until(lambda: fresh_simulator.stats()["callbacks"]["given_up"] == 1, what="upstream gives up")
    fleet.start_api()
    job = fleet.wait_for(job_id)
    assert (job["status"], job["submits"]) == ("completed", 1)
    assert totals(fleet)["callbacks_missed"] == "1"


def test_what_upstream_calls_nobody_about_is_looked_at_as_ever(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = started(make_fleet, fresh_simulator)
    jobs = [fleet.submit("a fox in letters", enable_base64_output=True), fleet.submit("a fox", enable_sync_mode=True)]
    ended = fleet.wait_for_all(jobs, timeout_s=LONG_S / 2)
    assert {job["status"] for job in ended} == {"completed"}
    assert fresh_simulator.stats()["callbacks"]["sent"] == 0


def test_no_process_ever_shows_a_token(make_fleet: MakeFleet, fresh_simulator: RunningSimulator) -> None:
    fleet = started(make_fleet, fresh_simulator)
    prompts = ("fox", "fox [[sim:lost_answer]]", "fox [[sim:error_before=400]]", "fox [[sim:callback_bad_signature]]")
    jobs = [fleet.submit(prompt) for prompt in prompts[:3]]
    fleet.wait_for_all(jobs, timeout_s=LONG_S / 2)
    fleet.submit(prompts[3])
    wait_until(lambda: fresh_simulator.stats()["callbacks"]["given_up"] == 1)
    said = "".join(process.output for process in fleet._processes)
    assert "callback.taken" in said
    for job_id in jobs:
        assert job_id in said
        assert f"{job_id}.1" not in said, "a token begins like this"
