"""The judge of storms names what breaks a promise: each rule is shown a case that it must not let pass."""

from typing import Any

import orjson

from tests.chaos.storm import judge
from tests.chaos.storm.customers import Notes
from tests.chaos.storm.judge import Evidence
from tests.chaos.storm.plan import Plan, Shape
from tests.chaos.storm.receiver import Hook
from tests.support.cell import Cell

JOB = "job_00000000000000000000000001"
NO_STORM = Plan(1, Shape(1, 0, 1, 1, (), 1, sync=False), [], [])


def evidence(*, ledger: int = 1, spent: float = 0.04, events: str = "", **more: Any) -> Evidence:
    """One completed job of one attempt whose prediction is `p0`; the ledger has `p0`, `p1`, … for its prompt."""
    job = {"status": "completed", "attempt": "1", "tenant": "a", "request": orjson.dumps({"prompt": "fox"}).decode()}
    values = {
        f"{{darkroom}}:job:{JOB}": job | {"events": events},
        f"{{darkroom}}:attempt:{JOB}:1": {"state": "done", "sends": "1", "prediction_id": "p0"}
        | more.get("attempt", {}),
        "{darkroom}:event:evt_1": {"type": "job.completed", "job": JOB, "at_ms": "1000"},
    }
    return Evidence(
        plan=NO_STORM,
        notes=Notes(jobs={0: JOB}),
        cell=Cell(values, dict.fromkeys(values, -1)),
        ledger=[{"id": f"p{n}", "prompt": "fox", "charged_usd": 0.04} for n in range(ledger)],
        hooks=more.get("hooks", [hook("evt_1")]),
        unverified=[],
        shown={JOB: {"cost": {"spent": spent}}},
        s3=None,  # type: ignore[arg-type]
        bucket="b",
    )


def hook(event_id: str, *, at: str = "1970-01-01T00:00:01.000Z", answered: int = 204) -> Hook:
    """A webhook that tells of the job's end."""
    data = {"id": JOB, "status": "completed"}
    return Hook(event_id, {"type": "job.completed", "timestamp": at, "data": data}, answered)


ENDED = "1-1,queued,1;1-2,completed,1000;"


def test_a_clean_case_passes() -> None:
    clean = evidence(events=ENDED)
    assert list(judge.every_accepted_job_has_ended(clean)) == []
    assert list(judge.nothing_is_paid_twice(clean)) == []
    assert list(judge.every_prediction_is_known_as_somebodys(clean)) == []
    assert list(judge.money_agrees_with_the_ledger(clean)) == []
    assert list(judge.each_end_was_told_under_one_id(clean)) == []
    assert list(judge.an_end_is_left_only_by_retry(clean)) == []


def test_a_second_prediction_is_named_as_paid_twice_and_as_nobodys() -> None:
    assert list(judge.nothing_is_paid_twice(evidence(ledger=2)))
    assert list(judge.every_prediction_is_known_as_somebodys(evidence(ledger=2)))
    assert list(judge.nothing_is_paid_twice(evidence(ledger=2, attempt={"duplicates": "p1"})))


def test_a_prediction_that_upstream_never_made_is_named() -> None:
    assert list(judge.every_prediction_is_known_as_somebodys(evidence(ledger=0)))


def test_money_that_was_not_charged_is_named() -> None:
    assert list(judge.money_agrees_with_the_ledger(evidence(spent=0.08)))


def test_an_end_that_nobody_took_or_that_has_two_ids_is_named() -> None:
    for hooks in ([], [hook("evt_1", answered=503)], [hook("evt_1"), hook("evt_1", at="2026")], [hook("evt_2")]):
        assert list(judge.each_end_was_told_under_one_id(evidence(events=ENDED, hooks=hooks)))


def test_a_job_that_went_on_after_its_end_unasked_is_named() -> None:
    assert list(judge.an_end_is_left_only_by_retry(evidence(events="1-1,failed,1;2-2,queued,2;2-3,completed,3;")))


def test_an_accepted_job_that_is_gone_is_named() -> None:
    gone = evidence(events=ENDED)
    gone.notes.jobs[1] = "job_00000000000000000000000002"
    assert list(judge.every_accepted_job_has_ended(gone))
