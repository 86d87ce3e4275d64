"""What a look decides: every job comes to an end, whatever upstream answers or does not."""

import pytest

from darkroom.store.attempts import Callback, Ticket
from darkroom.timers import DueAttempt
from darkroom.upstream.outcomes import LookOutcome, NotFound, Pending, Prediction, Unauthorized, Unavailable
from worker.stages.look import NOT_YET_MS, RETENTION_MS, Again, GiveUp, LookRules, TimeOut, decide

RULES = LookRules(poll_min_ms=2_000, poll_max_ms=30_000, timeout_ms=3_600_000, max_attempts=2, key="k")
DOWN, BAD_KEY, ABSENT = Unavailable("upstream answers 500"), Unauthorized("401"), NotFound("404")


def looked(
    outcome: LookOutcome, waited_ms: int, *, current: bool = True, missing_for_ms: int | None = None, key: str = "k"
) -> object:
    missing_ms = None if missing_for_ms is None else 1_000 + waited_ms - missing_for_ms
    ticket = Ticket("job_1", 1, 1)
    entry = DueAttempt(
        ticket, "generating", "p", 1_000, 3, current, "default", 1_000, 1_000, missing_ms=missing_ms, key=key
    )
    return decide(entry, outcome, RULES, now_ms=1_000 + waited_ms)


@pytest.mark.parametrize("outcome", [DOWN, BAD_KEY, ABSENT])
def test_no_answer_of_use_means_looking_again(outcome: LookOutcome) -> None:
    assert isinstance(looked(outcome, 60_000), Again)


def test_a_job_times_out_although_upstream_fails_all_the_while() -> None:
    assert isinstance(looked(DOWN, RULES.timeout_ms + 1), TimeOut)


def test_a_bad_key_times_no_job_out() -> None:
    decision = looked(BAD_KEY, RULES.timeout_ms + 1)
    assert isinstance(decision, Again)
    assert decision.unauthorized


def test_an_attempt_whose_job_ended_is_looked_at_further() -> None:
    assert isinstance(looked(DOWN, RULES.timeout_ms + 1, current=False), Again)


@pytest.mark.parametrize("outcome", [DOWN, BAD_KEY, ABSENT])
@pytest.mark.parametrize("current", [True, False])
def test_past_upstreams_retention_an_attempt_ends_and_its_slot_with_it(outcome: LookOutcome, current: bool) -> None:
    decision = looked(outcome, RETENTION_MS + 1, current=current)
    assert isinstance(decision, GiveUp)
    assert (decision.error.code, decision.max_attempts) == ("output_unavailable", 0)


def test_a_prediction_unknown_for_ten_minutes_is_given_up_and_never_replaced() -> None:
    decision = looked(ABSENT, 2 * NOT_YET_MS, missing_for_ms=NOT_YET_MS + 1)
    assert isinstance(decision, GiveUp)
    assert decision.max_attempts == 0


@pytest.mark.parametrize("missing_for_ms", [None, NOT_YET_MS])
def test_a_404_of_a_moment_ends_no_generation_however_long_it_runs(missing_for_ms: int | None) -> None:
    decision = looked(ABSENT, 2 * NOT_YET_MS, missing_for_ms=missing_for_ms)
    assert isinstance(decision, Again)
    assert decision.missing is True


def test_a_prediction_that_shows_again_is_missing_no_more() -> None:
    known = looked(Pending(Prediction(id="p", model="m", status="processing")), NOT_YET_MS, missing_for_ms=1)
    assert isinstance(known, Again)
    assert known.missing is False
    unanswered = looked(DOWN, NOT_YET_MS, missing_for_ms=1)
    assert isinstance(unanswered, Again)
    assert unanswered.missing is None


def test_what_another_account_does_not_know_is_not_lost() -> None:
    decision = looked(ABSENT, 2 * NOT_YET_MS, missing_for_ms=NOT_YET_MS + 1, key="another")
    assert isinstance(decision, Again)


def test_what_a_retry_asks_about_and_upstream_does_not_know_is_given_up_at_once() -> None:
    asked = DueAttempt(Ticket("job_1", 1, 1), "generating", "p", 1_000, 3, True, "default", 1_000, 1_000, asked=True)
    assert isinstance(decide(asked, ABSENT, RULES, now_ms=2_000), GiveUp)
    decision = decide(asked, Pending(Prediction(id="p", model="m", status="processing")), RULES, now_ms=2_000)
    assert isinstance(decision, Again)
    assert decision.resumed


def test_upstreams_wish_to_wait_is_honoured() -> None:
    decision = looked(Unavailable("slow down", 120), 1_000)
    assert isinstance(decision, Again)
    assert decision.delay_ms == 120_000


@pytest.mark.parametrize(
    ("callback", "called_ago_ms", "delay_ms"),
    [("awaited", None, 30_000), ("doubted", None, 6_000), ("", None, 6_000), ("", 100, 2_000), ("", 40_000, 4_000)],
)
def test_looks_are_rare_only_while_a_callback_is_relied_on_and_frequent_right_after_it(
    callback: Callback, called_ago_ms: int | None, delay_ms: int
) -> None:
    """A result that lags behind its callback is looked at again soon, however long the generation took."""
    now_ms = 1_000 + 60_000
    called_ms = None if called_ago_ms is None else now_ms - called_ago_ms
    entry = DueAttempt(
        Ticket("job_1", 1, 1), "generating", "p", 1_000, 0, True, "default", 1_000, 1_000,
        callback=callback, called_ms=called_ms,
    )  # fmt: skip
    decision = decide(entry, Pending(Prediction(id="p", model="m", status="processing")), RULES, now_ms=now_ms)
    assert isinstance(decision, Again)
    assert decision.delay_ms == delay_ms
