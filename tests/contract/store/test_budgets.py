"""Budgets: what is admitted is charged, who has nothing left waits alone, and what came to nothing is given back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from darkroom.jobs import JobError, JobRequest
from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import Moved, Ticket
from darkroom.store.jobs import BudgetError
from darkroom.store.view import job_view
from tests.support.conservation import broken_rules
from tests.support.money import pass_midnight
from tests.support.stores import FAILED, HOOK, Store

DAY_MS = 86_400_000


async def ids(store: Store, most: int = 64) -> list[str]:
    """Admit what may go and give the jobs' ids."""
    return [ticket.job_id for ticket in (await store.admit(most)).tickets]


async def test_tenant_without_budget_left_waits_and_others_go_on(store: Store) -> None:
    await store.budgets.apply({"a": 5})
    first, second, third = await store.post(max_images=3), await store.post(max_images=3), await store.post()
    other = await store.post("b", max_images=15)
    assert set(await ids(store)) == {first, other}
    assert await ids(store) == []
    assert [(await store.read(job_id)).held for job_id in (first, second, third, other)] == [
        None,
        "budget",
        "budget",
        None,
    ]
    assert job_view(await store.read(third))["queue_position"] == 2
    shown = {tenant["tenant"]: tenant for tenant in (await store.lanes.depth())["tenants"]}
    assert (shown["a"]["held"], shown["a"]["images"]) == ("budget", 4)
    assert set(await store.budgets.held()) == {"a"}


@pytest.mark.parametrize("rate_cost", ["images", "requests"])
async def test_long_line_of_a_held_tenant_does_not_space_out_the_others(store: Store, rate_cost: str) -> None:
    await store.limits(rate=20, rate_cost=rate_cost)
    await store.budgets.apply({"a": 1})
    await store.admitted()
    for _ in range(30):
        await store.post()
    assert await ids(store) == []
    store.pass_the_window()
    others = [await store.post("b") for _ in range(3)]
    assert await ids(store) == others


async def test_a_hundred_admissions_at_once_stay_within_the_budget(store: Store) -> None:
    await store.limits(rate=6_000)
    await store.budgets.apply({"*": 10})
    for _ in range(100):
        await store.post()
    admissions = await asyncio.gather(*(store.admit(1) for _ in range(100)))
    assert sum(len(admission.tickets) for admission in admissions) == 10
    budget = await store.budgets.today("a")
    assert budget is not None
    assert (budget.charged_images, budget.left_images) == (10, 0)


async def test_own_budget_goes_before_that_of_all_others(store: Store) -> None:
    await store.budgets.apply({"a": 2, "*": 1})
    for tenant in ("a", "a", "a", "b", "b"):
        await store.post(tenant)
    assert len(await ids(store)) == 3
    assert await store.budgets.today("c") is not None
    await store.budgets.apply({"a": 2})
    assert await store.budgets.today("c") is None


async def test_more_jobs_of_a_held_tenant_do_not_bring_it_back(store: Store) -> None:
    await store.budgets.apply({"a": 1})
    await store.post()
    await store.post()
    assert len(await ids(store)) == 1
    await ids(store)
    for priority in ("high", "normal"):
        accepted = await store.jobs.enqueue("a", JobRequest(prompt="x", priority=priority))
        assert accepted.record is not None
        assert accepted.record.held == "budget"
        assert "a" not in store.cell().at(keys.TURNS)


async def test_held_tenant_goes_on_at_midnight(store: Store) -> None:
    await store.budgets.apply({"a": 2})
    jobs = [await store.post() for _ in range(5)]
    assert await ids(store) == jobs[:2]
    due_ms = int(store.cell().at(keys.DUE)["h:a"])
    now_ms = int(store.client.time()[0]) * 1000
    assert due_ms % DAY_MS == 0
    assert 0 < due_ms - now_ms <= DAY_MS
    pass_midnight(store.client)
    assert await ids(store) == []
    await store.sweep("h:a")
    assert (await store.read(jobs[2])).held is None
    assert await ids(store) == jobs[2:4]
    assert (await store.read(jobs[4])).held == "budget"


async def test_timer_that_goes_off_early_changes_nothing(store: Store) -> None:
    await store.budgets.apply({"a": 1})
    await store.post()
    waiting = await store.post()
    await ids(store)
    await store.sweep("h:a")
    assert (await store.read(waiting)).held == "budget"
    assert int(store.cell().at(keys.DUE)["h:a"]) % DAY_MS == 0
    assert await ids(store) == []


async def _unadmitted(store: Store, ticket: Ticket) -> None:
    await store.attempts.unadmit([ticket])


async def _canceled(store: Store, ticket: Ticket) -> None:
    await store.jobs.cancel(ticket.job_id)


async def _paused(store: Store, ticket: Ticket) -> None:
    await store.lanes.pause(DEFAULT_LANE, "operator")
    assert await store.attempts.begin_submit(ticket, lease_ms=1000, sync_lease_ms=1000, key="k") is None
    await store.lanes.resume(DEFAULT_LANE)


async def _refused(store: Store, ticket: Ticket) -> None:
    await store.begin(ticket)
    assert await store.attempts.failed(ticket, FAILED, created_nothing=True) is Moved.DONE


async def _never_left(store: Store, ticket: Ticket) -> None:
    await store.begin(ticket)
    assert await store.attempts.returned(ticket, "never_left") is Moved.DONE


async def _not_now(store: Store, ticket: Ticket) -> None:
    await store.begin(ticket)
    assert await store.attempts.returned(ticket, "not_now") is Moved.DONE


async def _absent(store: Store, ticket: Ticket) -> None:
    await store.begin(ticket)
    await store.attempts.unknown(ticket, look_in_ms=0, message="reset")
    assert await store.attempts.returned(await store.ticket(ticket.job_id), "absent") is Moved.DONE


@pytest.mark.parametrize("nothing", [_unadmitted, _canceled, _paused, _refused, _never_left, _not_now, _absent])
@pytest.mark.parametrize("next_day", [False, True])
async def test_what_created_nothing_is_given_back_on_its_own_day(
    store: Store, nothing: Callable[[Store, Ticket], Awaitable[None]], next_day: bool
) -> None:
    await store.budgets.apply({"a": 4})
    ticket = await store.admitted(max_images=4)
    waiting = await store.post(max_images=2)
    assert await ids(store) == []
    assert store.usage()["charged_images"] == 4
    if next_day:
        pass_midnight(store.client)
    await nothing(store, ticket)
    for day in (0, 1):
        counted = store.usage(days_ago=day)
        assert (counted.get("charged_images", 0), counted.get("spent_images", 0)) == (0, 0)
    assert await store.spent(ticket.job_id) == 0
    if not next_day:
        await store.sweep()
    else:
        await store.sweep("h:a")
    store.pass_the_window()
    again = await ids(store)
    assert again[0] == (waiting if nothing in (_canceled, _refused) else ticket.job_id)


async def test_submit_of_yesterday_is_taken_back_yesterday(store: Store) -> None:
    ticket = await store.submitting(max_images=3)
    pass_midnight(store.client)
    await store.submitting(max_images=2)
    await store.attempts.returned(ticket, "not_now")
    assert store.usage(days_ago=1)["spent_images"] == 0
    assert store.usage()["spent_images"] == 2


async def test_attempt_that_is_sent_again_is_charged_once(store: Store) -> None:
    ticket = await store.submitting(max_images=3)
    for _ in range(3):
        await store.attempts.returned(ticket, "never_left")
        [ticket] = (await store.admit()).tickets
        await store.begin(ticket)
    assert (store.usage()["charged_images"], store.usage()["spent_images"]) == (3, 3)


async def test_second_prediction_of_an_attempt_counts_against_the_budget(store: Store) -> None:
    await store.budgets.apply({"a": 5})
    ticket = await store.generating(max_images=2)
    assert await store.accept(ticket, "p-again") is Moved.DUPLICATE
    await store.post(max_images=2)
    assert await ids(store) == []
    assert store.usage()["charged_images"] == 4
    assert await store.spent(ticket.job_id) == 4


async def test_raised_budget_lets_the_tenant_go_on(store: Store) -> None:
    await store.budgets.apply({"*": 3})
    await store.post()
    waiting = await store.post(max_images=3)
    await ids(store)
    assert not await store.budgets.apply({"*": 3})
    await store.sweep()
    assert await ids(store) == []
    assert await store.budgets.apply({"*": 4, "b": 1})
    await store.sweep()
    assert await ids(store) == [waiting]
    assert await store.budgets.apply({})
    assert await store.budgets.today("a") is None


async def test_tenant_whose_heavy_job_leaves_the_line_goes_on_with_a_lighter_one(store: Store) -> None:
    await store.budgets.apply({"a": 5})
    await store.admitted(max_images=3)
    heavy, expiring, light = await store.post(max_images=3), await store.post(max_images=3, expires_in=1), None
    light = await store.post(max_images=2)
    assert await ids(store) == []
    await store.jobs.cancel(heavy)
    await store.sweep()
    assert await ids(store) == []
    store.client.hincrby(keys.job(expiring), "queued_ms", -DAY_MS)
    await store.timers.expire([expiring])
    view = job_view(await store.read(expiring))
    assert (view["status"], view["cost"]["spent"], view["held"]) == ("expired", 0, None)
    await store.sweep()
    assert await ids(store) == [light]


async def test_tenant_whose_last_waiting_job_leaves_is_held_no_longer(store: Store) -> None:
    await store.budgets.apply({"a": 1})
    await store.admitted()
    waiting = await store.post()
    await ids(store)
    await store.jobs.cancel(waiting)
    await store.sweep()
    assert await store.budgets.held() == {}


async def test_replacement_is_charged_like_any_attempt(store: Store) -> None:
    await store.budgets.apply({"a": 4})
    ticket = await store.generating(max_images=3)
    assert await store.attempts.failed(ticket, FAILED, max_attempts=2) is Moved.OTHER
    assert await ids(store) == []
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["held"], view["attempt"]) == ("queued", "budget", 2)
    assert (store.usage()["charged_images"], store.usage()["refundable_images"]) == (3, 3)


async def test_what_upstream_failed_is_refundable_once_and_not_what_it_lost_or_made_after_all(store: Store) -> None:
    ticket = await store.generating(max_images=3)
    pass_midnight(store.client)
    await store.attempts.failed(ticket, FAILED)
    assert store.usage(days_ago=1)["refundable_images"] == 3
    await store.jobs.retry(ticket.job_id)  # asks upstream once more before it buys again
    again = await store.ticket(ticket.job_id, 1)
    await store.attempts.failed(again, FAILED)
    assert store.usage(days_ago=1)["refundable_images"] == 3
    await store.jobs.cancel(ticket.job_id)
    second = await store.generating(max_images=2)
    await store.attempts.failed(second, JobError(code="output_unavailable", message="unknown", retryable=True))
    assert store.usage().get("refundable_images", 0) == 0
    third = await store.generating(max_images=4)
    await store.attempts.failed(third, FAILED)
    assert store.usage()["refundable_images"] == 4
    await store.jobs.retry(third.job_id)
    await store.hand_over(await store.ticket(third.job_id, 1))
    assert store.usage()["refundable_images"] == 0


@pytest.mark.parametrize("refuse", [False, True])
async def test_job_that_costs_more_than_a_whole_day_is_refused(store: Store, refuse: bool) -> None:
    await store.budgets.apply({"*": 3})
    with pytest.raises(BudgetError, match=r"0\.16 USD.*0\.12 USD") as refused:
        await store.jobs.enqueue("a", JobRequest(prompt="x", max_images=4), refuse_over_budget=refuse)
    assert refused.value.resets_in_s is None
    assert store.cell().jobs == {}


async def test_refusing_counts_what_is_charged_and_what_waits(store: Store) -> None:
    await store.budgets.apply({"*": 6})
    await store.admitted(max_images=3)
    await store.post(max_images=2)
    with pytest.raises(BudgetError) as refused:
        await store.jobs.enqueue("a", JobRequest(prompt="x", max_images=2), refuse_over_budget=True)
    assert refused.value.resets_in_s is not None
    assert 0 < refused.value.resets_in_s <= 86_400
    await store.jobs.enqueue("a", JobRequest(prompt="x"), refuse_over_budget=True)
    await store.jobs.enqueue("a", JobRequest(prompt="x", max_images=6))
    await store.jobs.enqueue("b", JobRequest(prompt="x", max_images=6), refuse_over_budget=True)


async def test_job_that_was_accepted_is_replayed_although_the_budget_is_spent(store: Store) -> None:
    request = JobRequest(prompt="x", max_images=3)
    first = await store.jobs.enqueue("a", request, idempotency_key="k", refuse_over_budget=True)
    await store.budgets.apply({"*": 1})
    again = await store.jobs.enqueue("a", request, idempotency_key="k", refuse_over_budget=True)
    assert (again.job_id, again.replayed) == (first.job_id, True)


async def batch_of(store: Store, *images: int, cap: int | None = None, batch: str = "batch_1") -> list[str]:
    """Put jobs into a batch, as its intake will: in its own flow, beside its record."""
    tickets = []
    for count in images:
        tickets.append(await store.admitted(max_images=count))
        store.client.hset(keys.job(tickets[-1].job_id), "batch", batch)
    store.client.hset(keys.batch(batch), mapping={"charged_images": sum(images)})
    if cap is not None:
        store.client.hset(keys.batch(batch), mapping={"cap_images": cap})
    await store.attempts.unadmit(tickets)
    store.pass_the_window()
    return [ticket.job_id for ticket in tickets]


async def test_batch_without_budget_left_waits_and_the_tenants_other_jobs_go_on(store: Store) -> None:
    first, second, third = await batch_of(store, 2, 2, 1, cap=3)
    loose = await store.post(max_images=15)
    assert set(await ids(store)) == {first, loose}
    assert [(await store.read(job_id)).held for job_id in (second, third)] == ["budget", "budget"]
    assert (await store.lanes.depth())["tenants"][0]["held"] is None
    assert store.client.hget(keys.batch("batch_1"), "charged_images") == "2"
    another = await store.post()
    assert await ids(store) == [another]


async def test_tenant_whose_only_batch_is_held_lets_the_next_tenant_go(store: Store) -> None:
    first, _ = await batch_of(store, 2, 2, cap=3)
    other = await store.post("b", priority="low")
    assert set(await ids(store)) == {first, other}
    later = await store.post("b")
    assert await ids(store) == [later]


async def test_job_that_comes_back_into_a_held_batch_does_not_bring_it_back_by_itself(store: Store) -> None:
    await batch_of(store, 2, 2, 2, cap=4)
    tickets = (await store.admit()).tickets
    assert await ids(store) == []
    await store.attempts.unadmit(tickets[:1])
    assert broken_rules(store.cell()) == []
    assert "batch_1" in store.cell().at(keys.HELD_BATCHES)
    await store.sweep()
    store.pass_the_window()
    assert await ids(store) == [tickets[0].job_id]


async def test_late_answer_to_a_send_that_was_taken_back_is_charged_after_all(store: Store) -> None:
    await store.budgets.apply({"a": 3})
    ticket = await store.unconfirmed(max_images=3)
    await store.attempts.returned(ticket, "absent")
    assert store.usage()["charged_images"] == 0
    assert await store.accept(ticket, "p-late") is Moved.DONE
    assert (store.usage()["charged_images"], await store.spent(ticket.job_id)) == (3, 3)
    await store.post()
    store.pass_the_window()
    assert await ids(store) == []


async def test_batch_goes_on_when_money_is_given_back(store: Store) -> None:
    first, second = await batch_of(store, 2, 2, cap=3)
    [ticket] = (await store.admit()).tickets
    assert ticket.job_id == first
    assert await ids(store) == []
    pass_midnight(store.client)
    await store.sweep("b:batch_1")
    assert "batch_1" in store.cell().at(keys.HELD_BATCHES)
    assert await ids(store) == []
    await store.jobs.cancel(first)
    await store.sweep()
    assert await ids(store) == [second]


async def test_batch_budget_of_the_settings_holds_where_the_batch_has_none_and_can_be_raised(store: Store) -> None:
    await store.budgets.apply({":batch": 3})
    first, second = await batch_of(store, 2, 2)
    assert await ids(store) == [first]
    assert await ids(store) == []
    own = await batch_of(store, 2, 2, cap=4, batch="batch_2")
    assert await ids(store) == own
    await store.budgets.apply({":batch": 4})
    await store.sweep()
    assert await ids(store) == [second]


async def test_batch_and_its_tenant_can_both_be_held(store: Store) -> None:
    first, second = await batch_of(store, 2, 2, cap=3)
    await store.budgets.apply({"a": 3})
    await store.post(max_images=3, priority="low")
    assert await ids(store) == [first]
    assert await ids(store) == []
    held = store.cell()
    assert (set(held.at(keys.HELD)), set(held.at(keys.HELD_BATCHES))) == ({"a"}, {"batch_1"})
    store.client.hset(keys.batch("batch_1"), "cap_images", 9)
    await store.sweep("b:batch_1")  # gives the batch its place, not its tenant the turn
    assert broken_rules(store.cell()) == []
    assert set(await store.budgets.held()) == {"a"}
    await store.jobs.cancel(first)
    await store.sweep()
    store.pass_the_window()
    assert await ids(store) == [second]


async def test_tenant_held_behind_a_batch_that_can_not_go_itself_is_let_go(store: Store) -> None:
    await batch_of(store, 1, 2, cap=9)
    await store.admit(1)
    loose = await store.post(priority="low")
    await store.budgets.apply({"a": 2})
    assert await ids(store) == []
    store.client.hset(keys.batch("batch_1"), "cap_images", 2)
    await store.sweep("h:a")
    assert await ids(store) == [loose]


@pytest.mark.parametrize(("cap", "became"), [(2, "queued"), (1, "failed")])
async def test_line_of_many_who_can_not_pay_is_passed_over_in_bounded_steps(
    store: Store, cap: int, became: str
) -> None:
    tenants = [f"t{number:02d}" for number in range(70)]
    for tenant in tenants:
        await store.submitting(tenant)
    jobs = [await store.post(tenant, max_images=2) for tenant in tenants]
    await store.budgets.apply({"*": cap, "z": 5})
    last = await store.post("z")
    first = await store.admit()
    assert (first.reason, first.tickets) == ("more", [])
    assert await ids(store) == [last]
    assert {await store.status(job_id) for job_id in jobs} == {became}


async def test_job_dearer_than_the_whole_lowered_budget_fails_and_holds_up_nobody(store: Store) -> None:
    await store.budgets.apply({"a": 10})
    dear, cheap = await store.post(max_images=4, webhook=HOOK), await store.post()
    await store.budgets.apply({"a": 3})
    assert await ids(store) == [cheap]
    view = job_view(await store.read(dear))
    error = view["error"]
    assert (view["status"], error["code"], error["retryable"]) == ("failed", "exceeds_budget", True)
    assert "4 images are more than the whole budget of 3 images" in error["message"]
    assert (view["cost"]["spent"], store.usage()["charged_images"], store.events(dear)) == (0, 1, ["job.failed"])
    assert broken_rules(store.cell()) == []
    await store.budgets.apply({"a": 10})
    await store.jobs.retry(dear)
    store.pass_the_window()
    assert await ids(store) == [dear]


async def test_tenant_that_is_held_goes_on_when_its_budget_is_lowered_below_the_job_in_its_way(store: Store) -> None:
    await store.budgets.apply({"a": 5})
    await store.admitted(max_images=2)
    dear, cheap = await store.post(max_images=4), await store.post()
    assert await ids(store) == []
    await store.budgets.apply({"a": 3})
    await store.sweep()
    assert await ids(store) == [cheap]
    assert await store.status(dear) == "failed"


async def test_job_that_only_what_is_left_of_the_budget_is_too_small_for_waits(store: Store) -> None:
    await store.budgets.apply({"a": 5})
    await store.admitted(max_images=2)
    waiting = await store.post(max_images=4)
    await store.budgets.apply({"a": 4})
    assert await ids(store) == []
    assert (await store.read(waiting)).held == "budget"


async def test_replacement_dearer_than_the_lowered_budget_fails_and_what_was_spent_stands(store: Store) -> None:
    ticket = await store.generating(max_images=3)
    assert await store.attempts.failed(ticket, FAILED, max_attempts=2) is Moved.OTHER
    await store.budgets.apply({"a": 2})
    assert await ids(store) == []
    view = job_view(await store.read(ticket.job_id))
    assert (view["status"], view["error"]["code"], view["cost"]["spent"]) == ("failed", "exceeds_budget", 0.12)


async def test_job_dearer_than_its_batchs_whole_budget_fails_and_the_batch_goes_on(store: Store) -> None:
    first, dear, cheap = await batch_of(store, 2, 4, 1, cap=7)
    [ticket] = (await store.admit(1)).tickets
    assert ticket.job_id == first
    store.client.hset(keys.batch("batch_1"), "cap_images", 5)
    store.pass_the_window()
    assert await ids(store) == []
    assert "batch_1" in store.cell().at(keys.HELD_BATCHES)
    store.client.hset(keys.batch("batch_1"), "cap_images", 3)
    await store.sweep("b:batch_1")
    assert await ids(store) == [cheap]
    assert (await store.status(dear), store.client.hget(keys.batch("batch_1"), "charged_images")) == ("failed", "3")


async def test_job_that_comes_before_the_one_that_holds_its_tenant_goes_at_once_if_there_is_room(store: Store) -> None:
    await store.budgets.apply({"a": 5})
    await store.admitted(max_images=4)
    await store.post(max_images=4)
    assert await ids(store) == []
    await store.post()  # comes behind it
    await store.sweep()
    assert await ids(store) == []
    urgent = await store.post(priority="high")
    await store.sweep()
    assert await ids(store) == [urgent]


async def test_job_that_comes_first_into_a_held_batch_goes_at_once_if_there_is_room(store: Store) -> None:
    await batch_of(store, 1, 4, cap=4)
    [ticket] = (await store.admit()).tickets
    assert "batch_1" in store.cell().at(keys.HELD_BATCHES)
    await store.begin(ticket)
    await store.accept(ticket, "p")
    ticket = await store.ticket(ticket.job_id)
    assert await store.attempts.failed(ticket, FAILED, max_attempts=2) is Moved.OTHER
    await store.sweep()
    store.pass_the_window()
    assert await ids(store) == [ticket.job_id]


async def test_batch_that_is_let_go_lets_its_held_tenant_be_looked_at_again(store: Store) -> None:
    await batch_of(store, 2, 2, cap=3)
    await store.budgets.apply({"a": 4})
    loose = await store.post(max_images=3, priority="low")
    [first] = await ids(store)
    assert await ids(store) == []
    assert set(await store.budgets.held()) == {"a"}
    store.client.hset(keys.batch("batch_1"), "cap_images", 4)
    await store.sweep("b:batch_1")
    await store.sweep()
    store.pass_the_window()
    [second] = await ids(store)
    assert second not in (first, loose)
