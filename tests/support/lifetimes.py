"""Every key must die some day, or belong to what is alive: says which one does neither."""

from collections.abc import Callable, Iterator

from darkroom.store import keys
from darkroom.store.batch_ids import line_of
from darkroom.store.packing import unpack
from tests.support.cell import TERMINAL, Cell


def immortal_keys(cell: Cell) -> list[str]:
    """Name the keys that would stay for ever, and the living things that are about to vanish."""
    problems = []
    for name in cell.values:
        if name in keys.PERMANENT:
            continue
        if not name.startswith(keys.ROOT):
            problems.append(f"{name}: not under {keys.ROOT}")
            continue
        kind, _, rest = name.removeprefix(keys.ROOT).partition(":")
        problems += [f"{name}: {problem}" for problem in _judge(cell, name, kind, rest)]
    return problems


def _judge(cell: Cell, name: str, kind: str, rest: str) -> Iterator[str]:
    mortal = cell.ttl_ms[name] >= 0
    if kind in RULES:
        yield from RULES[kind](cell, rest, mortal)
    elif not mortal:
        yield "has no life-time and is not on the list of permanent keys"


def _job(cell: Cell, job_id: str, mortal: bool) -> Iterator[str]:
    if _is_to_be_swept(cell, job_id):
        return
    live = any(attempt.live for attempt in cell.attempts if attempt.job_id == job_id) or _its_batch_lives(cell, job_id)
    ended = cell.jobs[job_id].get("status") in TERMINAL
    if mortal and (live or not ended):
        yield "has a life-time although it is alive"
    if not mortal and ended and not live:
        yield "has no life-time although it and all its attempts have ended"


def _compacted(cell: Cell, job_id: str, mortal: bool) -> Iterator[str]:
    if keys.job(job_id) in cell.values:
        yield "is there beside the record that it stands for"
    record = cell.at(keys.batch(unpack(job_id, str(cell.values[keys.compacted(job_id)])).job.get("batch", "-")))
    swept = "retire_line" not in record or line_of(job_id) <= int(record["retire_line"])
    goes_on = "status" in record and "manifest" not in record
    if swept and mortal == goes_on:
        yield "has a life-time although its batch goes on, or none although it does not"


def _attempt(cell: Cell, rest: str, mortal: bool) -> Iterator[str]:
    job = keys.job(rest.rpartition(":")[0])
    if mortal != (cell.ttl_ms.get(job, 0) >= 0):
        yield "does not live as long as its job"


def _delivery(cell: Cell, delivery_id: str, mortal: bool) -> Iterator[str]:
    pending = cell.at(keys.delivery(delivery_id))["status"] == "pending"
    if pending == mortal:
        yield "has a life-time while pending, or none although settled"


def _event(cell: Cell, event_id: str, mortal: bool) -> Iterator[str]:
    told = [record for _, record in cell.under("delivery:") if record["event"] == event_id]
    if mortal == any(record["status"] == "pending" for record in told):
        yield "has a life-time while its delivery is pending, or none although that is settled"


def _index(cell: Cell, rest: str, _: bool) -> Iterator[str]:
    for job_id in cell.at(f"{keys.ROOT}index:{rest}"):
        if not {keys.job(job_id), keys.compacted(job_id)} & set(cell.values):
            yield f"holds {job_id}, whose record is gone"


def _line(_: Cell, __: str, mortal: bool) -> Iterator[str]:
    if mortal:
        yield "has a life-time although jobs wait in it"


def _left(cell: Cell, rest: str, mortal: bool) -> Iterator[str]:
    if mortal or f"{keys.ROOT}flows:{rest}" not in cell.values:
        yield "remembers flows that left although none waits"


def _is_to_be_swept(cell: Cell, job_id: str) -> bool:
    """Whether the sweep that gives or takes life-times has yet to come to an ended job, which may have one or not."""
    job = cell.jobs[job_id]
    record = cell.at(keys.batch(job.get("batch", "-")))
    return job["status"] in TERMINAL and "retire_line" in record and line_of(job_id) > int(record["retire_line"])


def _its_batch_lives(cell: Cell, job_id: str) -> bool:
    """A batch that goes on, or is not written down yet."""
    record = cell.at(keys.batch(cell.jobs[job_id].get("batch", "-")))
    return "status" in record and "manifest" not in record


def _batch(cell: Cell, batch_id: str, mortal: bool) -> Iterator[str]:
    record = cell.at(keys.batch(batch_id))
    if "status" not in record:
        return  # a test's own, with a budget and nothing else
    timed = batch_id in cell.due("m") or {f"{batch_id}:retire", f"{batch_id}:drop"} & set(cell.due("s"))
    if mortal == bool(record["status"] == "running" or timed):
        yield "has a life-time although it goes on, or none although it has ended and is written down"


def _lane(cell: Cell, rest: str, _: bool) -> Iterator[str]:
    if rest.partition(":")[0] not in cell.lanes:
        yield "belongs to no known lane"


def _host(_: Cell, rest: str, mortal: bool) -> Iterator[str]:
    if mortal == rest.endswith((":flying", ":queue")):
        yield "has a life-time although deliveries are in it, or none although it is a memory of failures"


def _kept(_: Cell, __: str, ___: bool) -> Iterator[str]:
    yield from ()  # a tenant's settings stay until somebody takes them away; secrets that were replaced end


RULES: dict[str, Callable[[Cell, str, bool], Iterator[str]]] = {
    "job": _job,
    "done": _compacted,
    "attempt": _attempt,
    "delivery": _delivery,
    "event": _event,
    "index": _index,
    "flow": _line,
    "flows": _line,
    "left": _left,
    "lane": _lane,
    "batch": _batch,
    "host": _host,
    "batches": _kept,
    "webhook": _kept,
    "secrets": _kept,
}
"""By the kind of key (the first part of its name)."""
