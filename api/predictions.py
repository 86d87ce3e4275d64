"""Whether a prediction that an operator names can be a job's own: nobody is to get another request's images."""

from datetime import UTC, datetime, timedelta

from api.problems import Problem, invalid
from api.validation import FieldError
from darkroom.errors import RetryableError
from darkroom.store.records import JobRecord
from darkroom.store.view import request_view
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.errors import UnauthorizedError
from darkroom.upstream.outcomes import NotFound, Prediction, PredictionInput, Unauthorized, Unavailable

PAD = timedelta(minutes=5)
AROUND = timedelta(seconds=2)
MOST_PAGES = 5


async def require_own(upstream: UpstreamClient, prediction_id: str, record: JobRecord, *, force: bool) -> None:
    """Look the prediction up, and compare what upstream tells of it with what the job asked for.

    Raises:
        Problem: `validation_error` where upstream does not know it, `prediction_mismatch` where it was asked for
            something else or at another time (unless `force`), `unavailable` where upstream can't be asked.
    """
    outcome = await upstream.look(prediction_id)
    if isinstance(outcome, NotFound):
        raise invalid([FieldError(("body", "prediction_id"), "upstream knows no such prediction")])
    if isinstance(outcome, Unavailable | Unauthorized):
        raise Problem("unavailable", f"the prediction can't be looked at just now: {outcome.message}")
    if force:
        return
    created_at = _created_at(outcome.prediction)
    asked = outcome.prediction.input or await _listed_input(upstream, prediction_id, created_at)
    why = _differs(asked, record) or _of_another_time(created_at, record)
    if why:
        raise Problem("prediction_mismatch", f'{why}; with "force": true it is adopted all the same')


async def _listed_input(
    upstream: UpstreamClient, prediction_id: str, created_at: datetime | None
) -> PredictionInput | None:
    """Find what it was asked for in the list of its seconds; None where upstream does not say."""
    if created_at is None:
        return None
    try:
        for number in range(1, MOST_PAGES + 1):
            page = await upstream.list_predictions(
                page=number, created_after=created_at - AROUND, created_before=created_at + AROUND
            )
            for item in page.items:
                if item.id == prediction_id:
                    return item.input
            if page.is_last:
                break
    except (RetryableError, UnauthorizedError) as error:
        raise Problem("unavailable", f"upstream can't be asked what the prediction is of: {error}") from None
    return None


def _differs(asked: PredictionInput | None, record: JobRecord) -> str | None:
    if asked is None:
        return None
    own = request_view(record.request)
    size = asked.size.replace("x", "*") if asked.size is not None else own["size"]
    images = asked.max_images if asked.max_images is not None else own["max_images"]
    same = (asked.prompt, size, images) == (own["prompt"], own["size"], own["max_images"])
    return None if same else "that prediction was asked for something else than this job"


def _of_another_time(created_at: datetime | None, record: JobRecord) -> str | None:
    sent_ms, lost_ms = record.attempt.get("sent_ms"), record.attempt.get("unknown_ms")
    if created_at is None or sent_ms is None or lost_ms is None:
        return None
    first, last = (datetime.fromtimestamp(int(moment) / 1000, UTC) for moment in (sent_ms, lost_ms))
    if first - PAD <= created_at <= last + PAD:
        return None
    return "that prediction was created at another time than this job's submit"


def _created_at(prediction: Prediction) -> datetime | None:
    try:
        moment = datetime.fromisoformat(prediction.created_at or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
