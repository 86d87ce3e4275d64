"""What holds of the money in the store after every single move; a part of `conservation`."""

from collections import Counter
from collections.abc import Callable, Iterator

import redis

from darkroom.store import keys
from tests.support.cell import LIVE, Cell


def who_is_held_has_a_timer(cell: Cell) -> Iterator[str]:
    """A held tenant's timer puts it back; a held batch may be without, but not once its last job has left."""
    yield from _differ(set(cell.at(keys.HELD)), set(cell.due("h")))
    waiting = {name.split(":")[2] for name, _ in cell.under("flow:")}
    held, timers = set(cell.at(keys.HELD_BATCHES)), set(cell.due("b"))
    yield from (f"batch {batch} is not held and has a timer" for batch in timers - held)
    yield from (f"batch {batch} is held for ever" for batch in held - timers - waiting)


def an_attempt_is_charged_while_it_costs(cell: Cell) -> Iterator[str]:
    """From admission on an attempt holds its charge; it is given back only together with what it had spent."""
    for attempt in cell.attempts:
        record, images = attempt.record, int(cell.jobs[attempt.job_id]["images"])
        duplicates = _duplicates(record)
        spent = int(record.get("spent_images", 0)) - duplicates * images
        if spent != (images if "spent_day" in record else 0):
            yield f"{attempt.member} ({attempt.state}) has spent {spent}, on day {record.get('spent_day')}"
        if "spent_day" in record and "charged_day" not in record:
            yield f"{attempt.member} ({attempt.state}) has spent what it is not charged for"
        if ("charged_day" in record) != (attempt.state in LIVE or "spent_day" in record):
            yield f"{attempt.member} ({attempt.state}) is charged on day {record.get('charged_day')}"
    for job_id, job in cell.jobs.items():
        spent = sum(int(item.record.get("spent_images", 0)) for item in cell.attempts if item.job_id == job_id)
        if spent != int(job.get("spent_images", 0)):
            yield f"{job_id} has spent {job.get('spent_images')}, its attempts {spent}"


def a_day_counts_what_its_attempts_cost(cell: Cell) -> Iterator[str]:
    """What a day is charged for, and what was spent on it, is what attempts hold of it, and what was bought twice.

    Attempts whose time is over are gone, and what they cost is still counted.
    """
    for kind in ("charged", "spent"):
        held: Counter[tuple[str, str]] = Counter()
        twice: Counter[str] = Counter()
        for attempt in cell.attempts:
            job = cell.jobs[attempt.job_id]
            if f"{kind}_day" in attempt.record:
                held[job["tenant"], attempt.record[f"{kind}_day"]] += int(job["images"])
            twice[job["tenant"]] += _duplicates(attempt.record) * int(job["images"])
        counted = {
            _split(name): int(record[f"{kind}_images"])
            for name, record in cell.under("usage:")
            if int(record.get(f"{kind}_images", 0))
        }
        for tenant in {tenant for tenant, _ in [*held, *counted]}:
            more = {day: images - held[tenant, day] for (of, day), images in counted.items() if of == tenant}
            gone = _accepted(cell, tenant) > sum(job["tenant"] == tenant for job in cell.accepted.values())
            short = min(more.values(), default=0) < 0 or any(of == tenant and day not in more for of, day in held)
            if short or (sum(more.values()) != twice[tenant] and not gone):
                yield f"{tenant}: {kind} by attempts {held}, twice {twice[tenant]}, counted {counted}"


def a_batch_is_charged_for_its_attempts(cell: Cell) -> Iterator[str]:
    """A batch is charged for what its attempts hold and what was bought twice; what is gone stays counted."""
    for batch, record in cell.under("batch:"):
        images = sum(
            int(cell.jobs[item.job_id]["images"]) * (_duplicates(item.record) + ("charged_day" in item.record))
            for item in cell.attempts
            if cell.jobs[item.job_id].get("batch") == batch
        )
        gone = int(record.get("total", 0)) > sum(job.get("batch") == batch for job in cell.jobs.values())
        charged = int(record.get("charged_images", 0))
        if charged < images or (charged > images and not gone):
            yield f"batch {batch} is charged {record.get('charged_images')}, its attempts hold {images}"


def what_is_delivered_is_counted_once(cell: Cell) -> Iterator[str]:
    """A tenant's days count the images that its attempts have delivered; what is gone stays counted."""
    delivered: Counter[str] = Counter()
    for attempt in cell.attempts:
        delivered[cell.jobs[attempt.job_id]["tenant"]] += int(attempt.record.get("delivered", 0))
    counted: Counter[str] = Counter()
    for name, record in cell.under("usage:"):
        counted[_split(name)[0]] += int(record.get("images_delivered", 0))
    for tenant in {*delivered, *counted}:
        gone = _accepted(cell, tenant) > sum(job["tenant"] == tenant for job in cell.accepted.values())
        if counted[tenant] < delivered[tenant] or (counted[tenant] > delivered[tenant] and not gone):
            yield f"{tenant}: attempts have delivered {delivered[tenant]}, counted {counted[tenant]}"
    total = int(cell.at(keys.TOTALS).get("delivered_images", 0))
    if total != counted.total():
        yield f"{total} delivered in all, the days count {counted.total()}"


RULES: tuple[Callable[[Cell], Iterator[str]], ...] = (
    who_is_held_has_a_timer,
    an_attempt_is_charged_while_it_costs,
    a_day_counts_what_its_attempts_cost,
    a_batch_is_charged_for_its_attempts,
    what_is_delivered_is_counted_once,
)


def pass_midnight(client: redis.Redis) -> None:
    """Make what was counted today count as yesterday's, as it will once midnight (UTC) has passed."""
    cell = Cell.read(client)
    for day, tenant in sorted((int(day), tenant) for tenant, day in (_split(name) for name, _ in cell.under("usage:"))):
        client.rename(keys.usage(tenant, day), keys.usage(tenant, day - 1))
    for attempt in cell.attempts:
        for field in ("charged_day", "spent_day", "refund_day", "duplicate_day"):
            if field in attempt.record:
                client.hincrby(keys.attempt(attempt.job_id, attempt.number), field, -1)


def _duplicates(record: dict[str, str]) -> int:
    return len([item for item in record.get("duplicates", "").split(",") if item])


def _split(name: str) -> tuple[str, str]:
    tenant, _, day = name.rpartition(":")
    return tenant, day


def _accepted(cell: Cell, tenant: str) -> int:
    records = (record for name, record in cell.under("usage:") if _split(name)[0] == tenant)
    return sum(int(record.get("jobs", 0)) for record in records)


def _differ(expected: object, found: object) -> Iterator[str]:
    if expected != found:
        yield f"expected {expected!r}, found {found!r}"
