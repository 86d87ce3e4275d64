"""What a lane's timer does: which call shows that the reason for a pause is gone, and what opens nothing."""

from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.line.lanes import DEFAULT_LANE, LaneState
from darkroom.storage.errors import StorageUnavailableError
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from worker.stages import lane as stage

NO_SUCH_CALL = UpstreamUnavailableError("404", status=404, is_passing=False)
NO_NUMBER = UpstreamUnavailableError("upstream's answer holds no balance", is_passing=False)
A_PAGE = UpstreamUnavailableError("upstream answered 200: an HTML page", status=200)
DOWN = UpstreamUnavailableError("no connection")
FAILING = UpstreamUnavailableError("503", status=503)
NOT_FOR_THIS_KEY = UnauthorizedError("403", status=403)
FINE = object()


class World:
    """A paused lane, an account and a bucket that answer as told, and what was done about them."""

    def __init__(self, reason: str, *, balance: Any = DOWN, listing: Any = FINE, bucket: Any = FINE) -> None:
        self.state = LaneState(DEFAULT_LANE, "paused", reason, 10, 3, 10, 3, 0, 0, None)
        self.answers = {"balance": balance, "listing": listing, "bucket": bucket}
        self.at_turn: int | None = None
        self.unstored = 0
        self.done: list[tuple[Any, ...]] = []
        upstream = SimpleNamespace(lane_probe_s=15, max_unstored_images=100)
        self.context: Any = SimpleNamespace(
            lanes=self, upstream=self, bucket=self, redis=self, lane=DEFAULT_LANE,
            settings=SimpleNamespace(upstream=upstream),
        )  # fmt: skip

    async def states(self) -> list[LaneState]:
        """Give the one lane."""
        return [self.state]

    async def images_at_turn(self) -> int | None:
        """Give what the job at its turn asks for."""
        return self.at_turn

    async def hget(self, *_: str) -> str:
        """Give how many images wait for the bucket."""
        return str(self.unstored)

    async def balance(self) -> Any:
        """Answer as told."""
        return self._answer("balance")

    async def list_predictions(self, **_: Any) -> Any:
        """Answer as told."""
        return self._answer("listing")

    async def check(self) -> None:
        """Answer as told."""
        self._answer("bucket")

    async def pause(self, _: str, reason: str, *, probe_s: float) -> bool:
        """Note it."""
        self.done.append(("pause", reason))
        return True

    async def reopen(self, _: str, was: str) -> bool:
        """Note it."""
        self.done.append(("reopen", was))
        return True

    async def probe_again(self, _: str, *, probe_s: float) -> None:
        """Note it."""
        self.done.append(("again",))

    async def try_one(self, _: str, *, probe_s: float) -> bool:
        """Note it."""
        self.done.append(("try one",))
        return True

    def _answer(self, name: str) -> Any:
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("reason", "answers", "expected"),
    [
        ("balance", {"balance": 0.04}, ("reopen", "balance")),
        ("balance", {"balance": 0.0}, ("pause", "balance")),
        ("balance", {"balance": DOWN}, ("again",)),
        ("balance", {"balance": FAILING}, ("again",)),
        ("balance", {"balance": NO_SUCH_CALL}, ("try one",)),
        ("balance", {"balance": NO_NUMBER}, ("try one",)),
        ("balance", {"balance": NO_NUMBER, "listing": FAILING}, ("try one",)),
        ("balance", {"balance": A_PAGE}, ("try one",)),
        ("balance", {"balance": UnauthorizedError("401")}, ("pause", "auth")),
        ("auth", {"balance": 5.0}, ("reopen", "auth")),
        ("auth", {"balance": UnauthorizedError("401")}, ("pause", "auth")),
        ("auth", {"balance": NO_SUCH_CALL}, ("reopen", "auth")),
        ("auth", {"balance": NO_SUCH_CALL, "listing": UnauthorizedError("401")}, ("pause", "auth")),
        ("balance", {"balance": NOT_FOR_THIS_KEY}, ("try one",)),
        ("auth", {"balance": NOT_FOR_THIS_KEY}, ("reopen", "auth")),
        ("auth", {"balance": NOT_FOR_THIS_KEY, "listing": NOT_FOR_THIS_KEY}, ("pause", "auth")),
        ("upstream", {"balance": NOT_FOR_THIS_KEY}, ("reopen", "upstream")),
        ("upstream", {"balance": 5.0}, ("reopen", "upstream")),
        ("upstream", {"balance": 0.0}, ("pause", "balance")),
        ("upstream", {"balance": DOWN}, ("again",)),
        ("upstream", {"balance": NO_NUMBER}, ("reopen", "upstream")),
        ("upstream", {"balance": NO_SUCH_CALL, "listing": FAILING}, ("again",)),
        ("storage", {"bucket": FINE}, ("reopen", "storage")),
        ("storage", {"bucket": StorageUnavailableError("gone")}, ("again",)),
    ],
)
async def test_probe_opens_a_lane_only_on_what_shows_that_its_reason_is_gone(
    reason: str, answers: dict[str, Any], expected: tuple[str, ...]
) -> None:
    world = World(reason, **answers)
    await stage.probe(world.context, DEFAULT_LANE)
    assert world.done == [expected]


async def test_operators_pause_is_not_probed() -> None:
    world = World("operator", balance=5.0)
    await stage.probe(world.context, DEFAULT_LANE)
    assert world.done == []


@pytest.mark.parametrize(("images", "balance", "opens"), [(7, 0.28, True), (7, 0.27, False), (None, 0.04, True)])
async def test_balance_must_cover_the_job_at_its_turn(images: int | None, balance: float, opens: bool) -> None:
    world = World("balance", balance=balance)
    world.at_turn = images
    await stage.probe(world.context, DEFAULT_LANE)
    assert world.done == [("reopen", "balance") if opens else ("pause", "balance")]


async def test_full_store_of_unstored_images_keeps_a_lane_paused_although_the_bucket_is_there() -> None:
    world = World("storage")
    world.unstored = 100
    await stage.probe(world.context, DEFAULT_LANE)
    assert world.done == [("again",)]
    world.unstored = 99
    await stage.probe(world.context, DEFAULT_LANE)
    assert world.done[-1] == ("reopen", "storage")
