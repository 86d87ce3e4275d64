"""The rules of the state machine about budgets: small enough to bind, raised and lowered, and over at midnight."""

import hypothesis.strategies as st
from hypothesis.stateful import rule

from darkroom.line.budgets import Budgets
from darkroom.store import keys
from tests.property.machine import HOUR_MS, StoreMachine
from tests.property.model import ModelJob
from tests.support.cell import Cell
from tests.support.money import pass_midnight

DAY_S = 86_400
caps = st.sampled_from([{}, {"a": 3}, {"*": 6}, {"a": 20, "b-1": 4, "*": 2}, {":batch": 3}])


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
        assert Cell.read(self.client).at(keys.HELD_BATCHES) == {}

    def release_all(self) -> None:
        """Have the timers of all that are held go off, and no others: batches first, whose jobs may be next then."""
        cell = Cell.read(self.client)
        self._go_off([f"b:{batch}" for batch in cell.due("b")])
        self._go_off([f"h:{tenant}" for tenant in cell.at(keys.HELD)])

    def _go_off(self, held: list[str]) -> None:
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

    def dearer_than_a_budget(self, job: ModelJob) -> bool:
        """Say whether a job of a batch, or one of its own, costs more than any day's or its batch's whole budget."""
        caps = [self.cap_of(job.tenant), self.caps.get(":batch") if job.batch else None]
        return any(cap is not None and job.images > cap for cap in caps)

    def keeps_to_budgets(self, admitted: list[ModelJob], *, empty: bool) -> None:
        """What was admitted is within its budgets, and when nobody is left to admit, a budget holds each who waits."""
        for tenant in {job.tenant for job in admitted}:
            cap = self.cap_of(tenant)
            assert cap is None or self.charged_today(tenant) <= cap
        cell = Cell.read(self.client)
        cap = self.caps.get(":batch")
        for batch in {job.batch.batch_id for job in admitted if job.batch}:
            assert cap is None or int(cell.at(keys.batch(batch))["charged_images"]) <= cap
        if empty:
            held, held_batches = set(cell.at(keys.HELD)), cell.at(keys.HELD_BATCHES)
            waiting = [job for job in self.model.values() if job.waiting and not job.canceled_with_batch]
            loose = {job.tenant for job in waiting if not job.batch or job.batch.batch_id not in held_batches}
            assert loose <= held <= {job.tenant for job in self.model.values() if job.waiting}
