"""Answers that get lost: the connection then repeats the call, and the repetition must change nothing more.

While `on`, every script is run twice with the same arguments, and the whole store is compared before and after the
second run. Only moments may differ, by the time that passes between the two.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import redis

from darkroom.store import keys
from darkroom.store.scripts import Call, Scripts
from tests.support.cell import Cell

HANDS_OUT = frozenset({"admit", "lease_due", "redeliver", "claim_manifest"})
"""What has an effect each time by its nature: it hands out what is next, or starts a schedule afresh."""

GOES_ON = "sweep_"
"""Of scripts that do the next slice each time; what a slice has done before, it does not do again."""

APART_MS = 5_000


class Repeating:
    """Stands between the stores and the scripts of one connection."""

    def __init__(self, scripts: Scripts, client: "redis.Redis") -> None:
        self.on = False
        self._client = client
        self._once = scripts.call_many
        scripts.call_many = self._call_many  # type: ignore[method-assign]

    async def _call_many(self, calls: Iterable[Call]) -> list[Any]:
        wanted = list(calls)
        results = await self._once(wanted)
        if self.on and not any(name in HANDS_OUT or name.startswith(GOES_ON) for name, _ in wanted):
            before = Cell.read(self._client)
            again = await self._once(wanted)
            changed = list(changes(before, Cell.read(self._client)))
            assert not changed, f"{wanted} repeated changes {changed}"
            for (name, _), first, second in zip(wanted, results, again, strict=True):
                assert not isinstance(second, Exception), second
                if name == "begin_submit" and first[0] == 1:
                    assert second == first, "whoever wrote the intent must learn of it, or nobody sends"
                if name == "complete":
                    assert second == first, "whoever completed must learn how, or job.json tells an untruth"
        return results


def changes(before: Cell, after: Cell) -> Iterator[str]:
    """Name what differs between two looks at the store, moments that lie close together aside."""
    for name in sorted(before.values.keys() | after.values.keys()):
        if name == keys.WAKE:  # lapses by itself
            continue
        old, new = before.values.get(name), after.values.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            moments = any(isinstance(score, float) for score in [*old.values(), *new.values()])
            for field in sorted(old.keys() | new.keys()):
                if not _same(old.get(field), new.get(field), is_moment=moments or field.endswith("_ms")):
                    yield f"{name} {field}: {old.get(field)!r} to {new.get(field)!r}"
        elif old != new:
            yield f"{name}: {old!r} to {new!r}"
        if (before.ttl_ms.get(name, -1) < 0) != (after.ttl_ms.get(name, -1) < 0):
            yield f"{name}: its life-time"


def _same(old: str | float | None, new: str | float | None, *, is_moment: bool) -> bool:
    if old == new:
        return True
    if old is None or new is None or not is_moment:
        return False
    return abs(float(new) - float(old)) < APART_MS
