"""What a job says of a submit that could not be settled, so that an operator can."""

from collections.abc import Sequence
from typing import Any

from darkroom.jobs import JobError
from darkroom.store.attempts import Absence
from darkroom.store.view import iso
from worker.stages.reconcile.listing import Orphan
from worker.stages.reconcile.open_sends import OpenSend

MOST_CANDIDATES = 10


def left_open(send: OpenSend, why: str, absence: Absence | None, candidates: Sequence[Orphan]) -> JobError:
    """Say what is known of a send that may have been paid; candidates are predictions that nobody owned then."""
    evidence: dict[str, Any] = {
        "send": send.send,
        "sent_at": iso(send.sent_ms),
        "lost_at": iso(send.unknown_ms),
        "lost_because": send.why,
        "complete_listings": absence.listings if absence else 0,
        "sends_absent_before": absence.absent_before if absence else 0,
    }
    if candidates:
        nearest = sorted(candidates, key=lambda orphan: abs((orphan.created_ms or 0) - send.sent_ms))
        evidence["candidates"] = [
            {"prediction_id": orphan.prediction_id, "created_at": iso(orphan.created_ms)}
            for orphan in nearest[:MOST_CANDIDATES]
        ]
        evidence["candidates_in_all"] = len(candidates)
    return JobError(
        code="submit_unconfirmed",
        message=f"the answer to the submit was lost and {why}; an operator resolves it",
        retryable=False,
        upstream=evidence,
    )


def created_nothing(absence: Absence) -> JobError:
    """Say that as many sends as are allowed were lost on the way."""
    return JobError(
        code="upstream_failed",
        message=f"{absence.absent_before + 1} submits in a row were lost on the way and created nothing",
        retryable=True,
        upstream={"complete_listings": absence.listings},
    )
