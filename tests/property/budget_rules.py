"""The rules of the state machine about budgets: small enough to bind, raised and lowered, and over at midnight."""

import hypothesis.strategies as st
from hypothesis.stateful import rule

from darkroom.line.budgets import Budgets
from darkroom.store import keys
from tests.property.machine import HOUR_MS, StoreMachine
from tests.support.cell import Cell
from tests.support.money import pass_midnight

DAY_S = 86_400
caps = st.sampled_from([{}, {"a": 3}, {"*": 6}, {"a": 20, "b-1": 4, "*": 2}])


class BudgetRules(StoreMachine):
    """What operators and the calendar do to budgets, and what admission owes them."""

    def __init__(self) -> None:
        super().__init__()
        self.caps: dict[str, int] = {}

    @rule(chosen=caps)
    def change_budgets(self, chosen: dict[str, int]) -> None:
        assert self.run(Budgets(self.redis).apply(chosen)) == (chosen != self.caps)
        self.caps = chosen

    @rule()
    def midnight(self) -> None:
        """Another day begins, and the timers of those that waited for it go off: nobody waits for another one."""
        pass_midnight(self.client)
        self.release_all()
        assert Cell.read(self.client).at(keys.HELD) == {}

    def lift_budgets(self) -> None:
        """Let nobody be held."""
        self.change_budgets({})
        self.release_all()
        assert Cell.read(self.client).at(keys.HELD) == {}

    def release_all(self) -> None:
        """Have the timers of all that are held go off, and no others."""
        held = [f"h:{tenant}" for tenant in Cell.read(self.client).at(keys.HELD)]
        if held:
            self.client.zadd(keys.DUE, dict.fromkeys(held, 0))
            self.run(self.timers.lease_due(most=len(held), look_ms=HOUR_MS, message_ms=HOUR_MS, check_ms=HOUR_MS))

    def cap_of(self, tenant: str) -> int | None:
        """Give the budget that holds for a tenant, in images."""
        return self.caps.get(tenant, self.caps.get("*"))

    def charged_today(self, tenant: str) -> int:
        """Give what counts against it."""
        today = int(self.client.time()[0]) // DAY_S
        return int(str(self.client.hget(keys.usage(tenant, today), "charged_images") or 0))

    def over_budget(self, tenant: str, images: int, *, refuse: bool) -> str | None:
        """Say whether a job is to be refused: `ever`, `today` or not (None)."""
        cap = self.cap_of(tenant)
        if cap is None:
            return None
        ahead = sum(job.images for job in self.model.values() if job.waiting and job.tenant == tenant)
        if images > cap:
            return "ever"
        return "today" if refuse and self.charged_today(tenant) + ahead + images > cap else None

    def keeps_to_budgets(self, tenants: set[str], *, empty: bool) -> None:
        """Who was admitted is within its budget, and when nobody is left to admit, a budget holds each who waits."""
        for tenant in tenants:
            cap = self.cap_of(tenant)
            assert cap is None or self.charged_today(tenant) <= cap
        if empty:
            held = Cell.read(self.client).at(keys.HELD)
            assert set(held) == {job.tenant for job in self.model.values() if job.waiting}
