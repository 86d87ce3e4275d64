"""Whose fault a refusal is: what the account says of it, and what then becomes of job and lane."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.jobs import JobError, JobRequest
from darkroom.line.lanes import Refusals
from darkroom.store.attempts import Intent, Ticket
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.outcomes import NotNow, NotNowReason, UpstreamError
from worker.stages import refusals as stage

TICKET = Ticket("job_1", 1, 1)
INTENT = Intent(3, JobRequest(prompt="a fox", max_images=4))
NO_SUCH_CALL = UpstreamUnavailableError("404", status=404, is_passing=False)
NOT_FOR_THIS_KEY = UnauthorizedError("403", status=403)
BAD_KEY = UnauthorizedError("401")
DOWN = UpstreamUnavailableError("no connection")
NEVER = object()
PAUSED, COUNTED = "paused", "counted"


def refused(reason: NotNowReason, *, is_echo: bool = False) -> NotNow:
    return NotNow(reason, None, "no", UpstreamError("invalid_request", "blocked", "permanent"), is_echo)


class World:
    """An account that answers as told, a lane that counts as told, and what was done."""

    def __init__(self, *, balance: Any = 5.0, listing: Any = None, counts: Refusals | None = None) -> None:
        self.answers = {"balance": balance, "listing": listing}
        self.counts = counts or Refusals(1, meets_others=False)
        self.done: list[str] = []
        self.context: Any = SimpleNamespace(
            upstream=self,
            lanes=self,
            lane="default",
            settings=SimpleNamespace(upstream=SimpleNamespace(lane_probe_s=1)),
        )

    async def balance(self) -> Any:
        """Answer as told."""
        return await self._answer("balance")

    async def list_predictions(self, **_: Any) -> Any:
        """Answer as told."""
        return await self._answer("listing")

    async def pause(self, _: str, reason: str, *, probe_s: float) -> bool:
        """Note it."""
        self.done.append(PAUSED)
        return True

    async def count_refusal(self, _: str, ticket: Ticket, *, send: int) -> Refusals:
        """Count as told."""
        assert (ticket, send) == (TICKET, INTENT.send)
        self.done.append(COUNTED)
        return self.counts

    async def _answer(self, name: str) -> Any:
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        if answer is NEVER:
            await asyncio.Event().wait()
        return answer


async def settle(world: World, refusal: NotNow) -> JobError | None:
    return await stage.settle_refusal(world.context, TICKET, INTENT, refusal)


@pytest.mark.parametrize(
    ("reason", "answers", "expected"),
    [
        ("auth", {"balance": 0.16}, COUNTED),
        ("auth", {"balance": 0.15}, PAUSED),
        ("auth", {"balance": BAD_KEY}, PAUSED),
        ("auth", {"balance": DOWN}, PAUSED),
        ("auth", {"balance": NEVER}, PAUSED),
        ("auth", {"balance": NO_SUCH_CALL}, COUNTED),
        ("auth", {"balance": NOT_FOR_THIS_KEY}, COUNTED),
        ("auth", {"balance": NOT_FOR_THIS_KEY, "listing": NOT_FOR_THIS_KEY}, PAUSED),
        ("auth", {"balance": NO_SUCH_CALL, "listing": DOWN}, PAUSED),
        ("balance", {"balance": 0.16}, COUNTED),
        ("balance", {"balance": 0.15}, PAUSED),
        ("balance", {"balance": NO_SUCH_CALL}, PAUSED),
        ("upstream", {"balance": DOWN}, COUNTED),
    ],
)
async def test_refusal_counts_against_the_job_only_where_the_account_is_fine(
    monkeypatch: pytest.MonkeyPatch, reason: NotNowReason, answers: dict[str, Any], expected: str
) -> None:
    monkeypatch.setattr(stage, "CONFIRM_WITHIN_S", 0.01)
    world = World(**answers)
    assert await settle(world, refused(reason)) is None
    assert world.done == [expected]


async def test_echo_of_the_prompt_counts_against_the_job_where_no_call_shows_the_balance() -> None:
    world = World(balance=NO_SUCH_CALL)
    await settle(world, refused("balance", is_echo=True))
    assert world.done == [COUNTED]


async def test_refusal_that_can_not_be_the_jobs_pauses_the_lane_unasked() -> None:
    world = World(balance=NEVER)
    assert await settle(world, NotNow("auth", None, "bad key")) is None
    assert world.done == [PAUSED]


@pytest.mark.parametrize(("reason", "most"), [("auth", 3), ("balance", 3), ("upstream", 5)])
async def test_job_ends_with_upstreams_words_once_it_was_refused_too_often(reason: NotNowReason, most: int) -> None:
    assert await settle(World(counts=Refusals(most - 1, meets_others=False)), refused(reason)) is None
    error = await settle(World(counts=Refusals(most, meets_others=False)), refused(reason))
    assert error == JobError(code="invalid_request", message="blocked", retryable=False)


async def test_refusal_that_other_jobs_meet_as_well_pauses_the_lane() -> None:
    world = World(counts=Refusals(1, meets_others=True))
    assert await settle(world, refused("auth")) is None
    assert world.done == [COUNTED, PAUSED]
