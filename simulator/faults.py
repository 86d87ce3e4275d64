"""The kinds of fault, and the book that decides which of them strikes a call.

A fault comes from the control endpoint (`FaultBook.add`, live, for any prompt) or from a marker inside a prompt
(`markers.py`). Both are the same `Fault`; they differ in how `times` is counted: a live fault counts its own strikes,
a marker counts per prompt text (for files: per file).
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

CALLS = ("submit", "result", "list", "delete", "balance", "price", "billings", "secret", "output", "callback")


class FaultError(ValueError):
    """A fault is not one the simulator knows; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: what it strikes by default, which field its bare value sets, and its defaults."""

    call: str
    primary: str | None = None
    defaults: tuple[tuple[str, Any], ...] = ()
    is_transient: bool = False


def _call(primary: str | None = None, **defaults: Any) -> Kind:
    return Kind("submit", primary, tuple(defaults.items()), is_transient=True)


def _task(primary: str | None = None, **defaults: Any) -> Kind:
    return Kind("submit", primary, tuple(defaults.items()))


def _output(primary: str | None = "index", **defaults: Any) -> Kind:
    return Kind("output", primary, tuple(defaults.items()))


def _callback(primary: str | None = None, **defaults: Any) -> Kind:
    return Kind("callback", primary, tuple(defaults.items()))


#: Strike before anything is created or read. Any call.
BEFORE: dict[str, Kind] = {
    "error_before": _call("status", status=503),
    "html_error": _call("status", status=502),
    "rate_limit": _call("seconds"),
    "balance_empty": _call(),
    "hang": _call("seconds"),
    "lost_before": _call("variant", variant="rst"),
    "not_found": Kind("result", None, (), is_transient=True),
}
#: Strike after the prediction was created and billed (for other calls: after the work, before the answer).
AFTER: dict[str, Kind] = {
    "lost_answer": _call("variant", variant="rst"),
    "error_after": _call("status", status=502),
    "html_error_after": _call("status", status=502),
    "unreadable": _call(),
    "hang_after": _call("seconds"),
}
#: Put off the answer; another AFTER fault may follow.
DELAYS: dict[str, Kind] = {
    "delay_answer": _call("seconds", seconds=2.0),
    "callback_before_answer": _call("seconds", seconds=30.0),
}
#: Decide a task's fate when it is created.
TASK: dict[str, Kind] = {
    "fail": _task("code", code=5000),
    "status": _task("status", status="cancelled"),
    "outputs": _task("count", count=1),
    "null_output": _task("index", index=1),
    "null_flags": _task(),
    "missing_flags": _task(),
    "nsfw": _task("index"),
    "inference": _task("seconds", seconds=1.0),
}
#: Spoil the download of a file.
OUTPUT: dict[str, Kind] = {
    "truncated": _output(),
    "missing": _output(),
    "wrong_length": _output(),
    "wrong_type": _output(),
    "expired": _output(),
    "output_error": _output("status", status=503),
    "slow_output": _output("bytes_per_s", bytes_per_s=100_000),
    "no_content_length": _output(),
    "redirect": _output(),
}
#: Spoil a callback.
CALLBACK: dict[str, Kind] = {
    "callback_duplicate": _callback("count", count=2),
    "callback_late": _callback("seconds", seconds=5.0),
    "callback_bad_signature": _callback(),
    "callback_stale": _callback("seconds", seconds=3600.0),
    "callback_never": _callback(),
}
KINDS: dict[str, Kind] = {**BEFORE, **AFTER, **DELAYS, **TASK, **OUTPUT, **CALLBACK}
#: What may strike any call, not only the submit.
_ANY_CALL = {*BEFORE, *AFTER, "delay_answer"}


@dataclass(slots=True)
class Fault:
    """One switched-on fault; what a field means depends on the kind (table in docs/simulator.md)."""

    kind: str
    call: str
    prompt_contains: str | None = None
    times: int | None = None
    probability: float = 1.0
    seconds: float | None = None
    code: int | None = None
    status: int | str | None = None
    index: int | None = None
    count: int | None = None
    bytes_per_s: int | None = None
    variant: str | None = None
    shape: str | None = None
    id: int = 0
    fired: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fault as the control endpoint shows it."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


_TYPES: dict[str, tuple[type, ...]] = {
    "prompt_contains": (str,),
    "times": (int,),
    "probability": (int, float),
    "seconds": (int, float),
    "code": (int,),
    "status": (int, str),
    "index": (int,),
    "count": (int,),
    "bytes_per_s": (int,),
    "variant": (str,),
    "shape": (str,),
}
_VARIANTS = {"rst", "fin", "cut"}


def make_fault(kind: str, **fields: Any) -> Fault:
    """Build a checked fault; a field that is None takes the kind's default.

    Raises `FaultError` for an unknown kind, call, field or type.
    """
    known = KINDS.get(kind)
    if known is None:
        raise FaultError(f"unknown fault '{kind}'; known: {', '.join(KINDS)}")
    given = {name: value for name, value in fields.items() if value is not None}
    call = given.pop("call", known.call)
    if call not in CALLS or (call != known.call and kind not in _ANY_CALL):
        raise FaultError(f"fault '{kind}' cannot strike the call '{call}'")
    for name, value in given.items():
        if name not in _TYPES:
            raise FaultError(f"unknown field '{name}' of a fault")
        if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
            raise FaultError(f"field '{name}' of a fault cannot be {value!r}")
    fault = Fault(kind, call, **{**dict(known.defaults), **given})
    _check_fields(fault)
    return fault


def _check_fields(fault: Fault) -> None:
    if fault.kind == "status":
        if not isinstance(fault.status, str):
            raise FaultError("fault 'status' takes a task status such as 'cancelled'")
    elif fault.status is not None and not (isinstance(fault.status, int) and 400 <= fault.status <= 599):
        raise FaultError(f"fault '{fault.kind}' takes an HTTP status from 400 to 599")
    if fault.variant is not None and fault.variant not in _VARIANTS:
        raise FaultError(f"variant is one of {', '.join(sorted(_VARIANTS))}")
    if fault.bytes_per_s is not None and fault.bytes_per_s < 1:
        raise FaultError("bytes_per_s must be at least 1")


class FaultBook:
    """All faults that are switched on, and how often each has struck."""

    def __init__(self, seed: int = 1) -> None:
        self._live: dict[int, Fault] = {}
        self._ids = itertools.count(1)
        self._random = random.Random(seed)
        self._marker_counts: dict[Hashable, int] = {}
        self.fired: dict[str, int] = {}

    def add(self, fault: Fault) -> Fault:
        """Switch a fault on and give it its id."""
        fault.id = next(self._ids)
        self._live[fault.id] = fault
        return fault

    def remove(self, fault_id: int) -> bool:
        """Switch one fault off; False if there is none of this id."""
        return self._live.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Switch all live faults off and forget how often markers struck."""
        self._live.clear()
        self._marker_counts.clear()

    def live(self) -> list[Fault]:
        """Return the live faults, oldest first."""
        return list(self._live.values())

    def take(
        self,
        kinds: Iterable[str],
        *,
        call: str,
        prompt: str | None = None,
        markers: tuple[Fault, ...] = (),
        index: int | None = None,
        scope: Hashable = None,
    ) -> Fault | None:
        """Return the first fault of `kinds` that strikes now, counting the strike; markers come before live faults.

        `index` is the panel (from 1) of a file; `scope` names the file, so that markers count per file.
        """
        if not self._live and not markers:
            return None
        for position, fault in enumerate(markers):
            if self._matches(fault, kinds, call, index):
                key = (prompt, position, scope)
                count = self._marker_counts.get(key, 0)
                if (fault.times is None or count < fault.times) and self._falls(fault):
                    self._marker_counts[key] = count + 1
                    return self._strike(fault)
        for fault in self._live.values():
            if not self._matches(fault, kinds, call, index):
                continue
            if fault.times is not None and fault.fired >= fault.times:
                continue
            if fault.prompt_contains is not None and fault.prompt_contains not in (prompt or ""):
                continue
            if self._falls(fault):
                fault.fired += 1
                return self._strike(fault)
        return None

    @staticmethod
    def _matches(fault: Fault, kinds: Iterable[str], call: str, index: int | None) -> bool:
        if fault.kind not in kinds or fault.call != call:
            return False
        return index is None or fault.index is None or fault.index == index

    def _falls(self, fault: Fault) -> bool:
        return fault.probability >= 1.0 or self._random.random() < fault.probability

    def _strike(self, fault: Fault) -> Fault:
        self.fired[fault.kind] = self.fired.get(fault.kind, 0) + 1
        return fault
