"""The submit's calls to a store that fails at the worst moments."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from tenacity import wait_none

from darkroom.jobs import JobError, JobRequest
from darkroom.store.attempts import Callback, Intent, Moved, Ticket
from darkroom.upstream.outcomes import Accepted, CallbackRefused, NeverLeft, NotNow, Prediction, SubmitOutcome
from darkroom.upstream.session import make_session
from worker.context import LOOKS_AT_ONCE, SUBMITS_AT_ONCE
from worker.stages import submit as stage
from worker.stages.refusals import RATE_WAIT_S

TICKET = Ticket("job_1", 1, 1)
ACCEPTED = Accepted(Prediction(id="p1", model="m", status="created"))


class World:
    """A store that fails as told, an upstream that accepts, and what was asked of both."""

    key_fingerprint = "k"

    def __init__(self, *, begin: list[Any], accepted: list[Any] | None = None) -> None:
        self.answers = {"begin_submit": begin, "accepted": accepted or [Moved.DONE], "returned": [Moved.DONE]}
        self.asked: list[tuple[Any, ...]] = []
        self.outcome: SubmitOutcome = ACCEPTED
        self.refusals = 0
        self.callback_key: bytes | None = None
        self.callback_urls: list[str | None] = []
        self.context: Any = SimpleNamespace(
            attempts=self,
            upstream=self,
            lanes=self,
            callbacks=self,
            lane="default",
            submits=0,
            settings=SimpleNamespace(
                upstream=SimpleNamespace(poll_min_s=2.0, poll_max_s=30.0, lane_probe_s=1, rate_cost="images")
            ),
        )

    async def key(self) -> bytes | None:
        """Give what callbacks' tokens are made with, if any are wanted."""
        return self.callback_key

    def url(self, ticket: Ticket, *, send: int, key: bytes) -> str:
        """Give an address that names the send."""
        return f"https://dr.example/{ticket.job_id}/{ticket.attempt}/{send}/{key.decode()}"

    def refused(self, why: str) -> None:
        """Note it."""
        self.asked.append(("callbacks refused", why))

    async def begin_submit(self, ticket: Ticket, *, mark: str, calls_back: bool, **_: Any) -> Any:
        """Answer as told."""
        assert calls_back == (self.callback_key is not None)
        return self._answer("begin_submit", mark)

    async def accepted(self, ticket: Ticket, *, prediction_id: str, look_in_ms: int, **_: Any) -> Any:
        """Answer as told."""
        self.first_look_ms = look_in_ms
        return self._answer("accepted", prediction_id)

    async def returned(self, ticket: Ticket, why: str) -> Any:
        """Answer as told."""
        return self._answer("returned", why)

    async def unadmit(self, tickets: list[Ticket]) -> None:
        """Note it."""
        self.asked.append(("unadmit", *tickets))

    async def report_failure(self, lane: str, job_id: str) -> bool:
        """Note it."""
        self.asked.append(("report_failure", job_id))
        return False

    async def slow(self, lane: str, ticket: Ticket, *, wait_s: float, cost: int, send: int) -> int:
        """Note it, and give how often the job was refused alone."""
        self.asked.append(("slow", wait_s, cost, send))
        return self.refusals

    async def pause(self, lane: str, reason: str, *, probe_s: float) -> bool:
        """Note it."""
        self.asked.append(("pause", reason))
        return True

    async def failed(self, ticket: Ticket, error: JobError, *, created_nothing: bool) -> Moved:
        """Note it."""
        self.asked.append(("failed", error.code, created_nothing))
        return Moved.DONE

    def submit_deadline_s(self, _: Any) -> float:
        """Give any."""
        return 70.0

    async def submit(self, _: Any, *, callback_url: str | None, until_s: float) -> SubmitOutcome:
        """Accept, or say what it is told to."""
        self.callback_urls.append(callback_url)
        self.asked.append(("POST",))
        return self.outcome

    def _answer(self, name: str, argument: str) -> Any:
        self.asked.append((name, argument))
        answer = self.answers[name].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat without pauses."""
    monkeypatch.setattr(stage, "wait_exponential_jitter", lambda **_: wait_none())


async def test_intent_whose_answer_was_lost_is_asked_after_under_the_same_mark() -> None:
    world = World(begin=[RedisConnectionError(), Intent(1, JobRequest(prompt="a fox"))])
    await stage.submit(world.context, TICKET)
    assert [name for name, *_ in world.asked] == ["begin_submit", "begin_submit", "POST", "accepted"]
    assert world.asked[0] == world.asked[1]


async def test_intent_that_comes_too_late_is_taken_back_unsent_and_blames_no_upstream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "LATEST_START_S", -1)
    world = World(begin=[Intent(1, JobRequest(prompt="a fox"))])
    await stage.submit(world.context, TICKET)
    assert [name for name, *_ in world.asked] == ["begin_submit", "returned"]
    assert world.asked[-1] == ("returned", "never_left")


@pytest.mark.parametrize(("held_up", "blames"), [(True, False), (False, True)])
async def test_post_that_never_left_blames_upstream_unless_this_process_was_slow(held_up: bool, blames: bool) -> None:
    world = World(begin=[Intent(1, JobRequest(prompt="a fox"))])
    world.outcome = NeverLeft("why", held_up=held_up)
    await stage.submit(world.context, TICKET)
    assert ("returned", "never_left") in world.asked
    assert (("report_failure", "job_1") in world.asked) == blames


async def test_paid_id_is_offered_to_the_store_whatever_that_answers_and_sent_for_once() -> None:
    refusals = [ResponseError("MISCONF no space on disk"), RedisConnectionError(), Moved.DONE]
    world = World(begin=[Intent(1, JobRequest(prompt="a fox"))], accepted=refusals)
    await stage.submit(world.context, TICKET)
    assert world.asked[1:] == [("POST",), *[("accepted", "p1")] * 3]


async def test_job_past_what_one_process_may_have_open_goes_back_to_its_place_and_blames_no_upstream() -> None:
    world = World(begin=[])
    world.context.submits = SUBMITS_AT_ONCE
    await stage.submit(world.context, TICKET)
    assert world.asked == [("unadmit", TICKET)]


def test_open_posts_and_looks_leave_connections_of_the_session_free() -> None:
    most = inspect.signature(make_session).parameters["max_connections"].default
    assert most > SUBMITS_AT_ONCE + LOOKS_AT_ONCE


async def test_every_way_out_of_a_submit_counts_it_as_closed() -> None:
    world = World(begin=[Intent(1, JobRequest(prompt="a fox")), None], accepted=[ValueError("a bug"), Moved.DONE])
    with pytest.raises(ValueError, match="a bug"):
        await stage.submit(world.context, TICKET)
    await stage.submit(world.context, TICKET)
    assert world.context.submits == 0


@pytest.mark.parametrize(("asked_s", "waits_s"), [(7.5, 7.5), (0.0, 0.0), (None, RATE_WAIT_S)])
async def test_refusal_for_the_rate_holds_the_lane_as_long_as_upstream_asks(
    asked_s: float | None, waits_s: float
) -> None:
    world = World(begin=[Intent(3, JobRequest(prompt="a fox", max_images=4))])
    world.outcome = NotNow("rate", asked_s, "slow down")
    await stage.submit(world.context, TICKET)
    assert world.asked[2:] == [("slow", waits_s, 4, 3), ("returned", "not_now")]


@pytest.mark.parametrize("refusals", [2, 3])
async def test_job_too_heavy_for_the_account_fails_unpaid_at_its_third_refusal(refusals: int) -> None:
    world = World(begin=[Intent(refusals, JobRequest(prompt="a fox", max_images=15))])
    world.outcome, world.refusals = NotNow("rate", 1.0, "slow down"), refusals
    await stage.submit(world.context, TICKET)
    ends = ("failed", "exceeds_account_limit", True) if refusals == 3 else ("returned", "not_now")
    assert world.asked[-1] == ends


@pytest.mark.parametrize("reason", ["balance", "auth", "upstream"])
async def test_refusal_that_is_not_the_jobs_pauses_the_lane_before_the_job_is_back_in_the_line(reason: Any) -> None:
    world = World(begin=[Intent(1, JobRequest(prompt="a fox"))])
    world.outcome = NotNow(reason, None, "not now")
    await stage.submit(world.context, TICKET)
    assert world.asked[2:] == [("pause", reason), ("returned", "not_now")]


@pytest.mark.parametrize(
    ("callback", "first_look_ms", "url"),
    [
        ("awaited", 30_000, "https://dr.example/job_1/1/2/key"),
        ("doubted", 2_000, "https://dr.example/job_1/1/2/key"),
        ("", 2_000, None),
    ],
)
async def test_the_first_look_is_put_off_where_a_callback_is_relied_on(
    callback: Callback, first_look_ms: int, url: str | None
) -> None:
    world = World(begin=[Intent(2, JobRequest(prompt="a fox"), callback)])
    world.callback_key = b"key"
    await stage.submit(world.context, TICKET)
    assert (world.callback_urls, world.first_look_ms) == ([url], first_look_ms)


async def test_while_no_callback_is_wanted_none_is_asked_for() -> None:
    world = World(begin=[Intent(1, JobRequest(prompt="a fox"))])
    await stage.submit(world.context, TICKET)
    assert world.callback_urls == [None]


async def test_an_address_that_upstream_does_not_take_is_no_fault_of_the_job() -> None:
    world = World(begin=[Intent(1, JobRequest(prompt="a fox"), "awaited")])
    world.callback_key, world.outcome = b"key", CallbackRefused("not a public address")
    await stage.submit(world.context, TICKET)
    assert world.asked[2:] == [("callbacks refused", "not a public address"), ("returned", "not_now")]
