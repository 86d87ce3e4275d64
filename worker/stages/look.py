"""Look: ask upstream about one prediction and decide what that means for its attempt."""

from dataclasses import dataclass

import orjson

from darkroom.jobs import JobError
from darkroom.timers import DueAttempt
from darkroom.upstream.outcomes import (
    Completed,
    Failed,
    LookOutcome,
    NotFound,
    Pending,
    Prediction,
    Unauthorized,
    Unavailable,
    UpstreamError,
)
from worker.durations import Usual
from worker.stages.refusals import job_error

NOT_YET_MS = 10 * 60_000
"""How long a prediction may go on answering 404, whatever its age, before it is lost: until then it means `not yet`."""

RETENTION_MS = 7 * 86_400_000
"""How long upstream keeps predictions (WaveSpeed's documentation)."""

GROWTH = 0.1
"""The next look comes after this share of the time waited so far."""

PARTS = 7
"""Into so many parts looks cut the time in which generations usually end: one is seen half a part late, on average."""

VAGUE_REPLACEMENTS = 1


@dataclass(frozen=True, slots=True)
class Again:
    """Nothing to be done yet; look again after the delay. `resumed`: a retry asked, and upstream does work on it.

    `missing`: upstream did not know it; None: it did not say.
    """

    delay_ms: int
    unauthorized: bool = False
    resumed: bool = False
    missing: bool | None = None


@dataclass(frozen=True, slots=True)
class HandOver:
    """Completed: the outputs are to be stored."""

    sources: str
    inference_ms: int | None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The attempt yields nothing; a new one may take its place while there are fewer than `max_attempts`."""

    error: JobError
    max_attempts: int


@dataclass(frozen=True, slots=True)
class TimeOut:
    """The job has waited long enough; its attempt is looked at further."""

    error: JobError


LookDecision = Again | HandOver | GiveUp | TimeOut


@dataclass(frozen=True, slots=True)
class LookRules:
    """The settings that looking depends on, in ms; `key` is the fingerprint of the one that looks."""

    poll_min_ms: int
    poll_max_ms: int
    timeout_ms: int
    max_attempts: int
    key: str = ""

    def delay_ms(self, waited_ms: int, usual: Usual | None = None) -> int:
        """Give the time until the next look: when one usually ends, else longer, the longer it has taken."""
        delay_ms = waited_ms * GROWTH
        if usual is not None and waited_ms < usual.soonest_ms:
            delay_ms = usual.soonest_ms - waited_ms
        elif usual is not None and waited_ms <= usual.latest_ms:
            delay_ms = min(delay_ms, (usual.latest_ms - usual.soonest_ms) / PARTS)
        return int(min(max(delay_ms, self.poll_min_ms), max(self.poll_max_ms, self.poll_min_ms)))


def decide(
    entry: DueAttempt, outcome: LookOutcome, rules: LookRules, *, now_ms: int, usual: Usual | None = None
) -> LookDecision:
    """Say what an answer means; pure. No answer, and none at all, keeps a job from coming to an end."""
    waited_ms, delay_ms = max(0, now_ms - entry.submitted_ms), _delay_ms(entry, rules, now_ms, usual)
    match outcome:
        case Completed(prediction):
            return HandOver(sources_of(prediction), prediction.inference_ms)
        case Failed(_, error):
            return GiveUp(job_error(error), _most_attempts(error, rules))
        case NotFound() if entry.asked or _is_lost(entry, rules, now_ms):
            return GiveUp(_lost(), 0)
        case _ if waited_ms > RETENTION_MS:
            return GiveUp(_lost(), 0)
        case Unauthorized():
            return Again(rules.poll_max_ms, unauthorized=True)
        case _ if entry.current and now_ms - entry.clock_ms > rules.timeout_ms:
            return TimeOut(_too_long(rules.timeout_ms))
        case Unavailable(_, retry_after_s):
            return Again(max(delay_ms, int((retry_after_s or 0) * 1000)))
        case Pending():
            return Again(delay_ms, resumed=entry.asked, missing=False)
        case NotFound():
            return Again(delay_ms, missing=True)


def _delay_ms(entry: DueAttempt, rules: LookRules, now_ms: int, usual: Usual | None) -> int:
    """Give the time until the next look: the longest where a callback is awaited, else by when it was heard of."""
    if entry.callback == "awaited":
        return rules.poll_max_ms
    if entry.called_ms is not None:
        return rules.delay_ms(max(0, now_ms - entry.called_ms))
    return rules.delay_ms(max(0, now_ms - entry.submitted_ms), usual)


def _is_lost(entry: DueAttempt, rules: LookRules, now_ms: int) -> bool:
    """Say whether upstream has not known it for long; of a prediction of another account it never does."""
    return entry.missing_ms is not None and now_ms - entry.missing_ms > NOT_YET_MS and entry.key in ("", rules.key)


def sources_of(prediction: Prediction) -> str:
    """Write down what upstream named as outputs, for the store stage."""
    nsfw = dict(enumerate(prediction.nsfw))
    return orjson.dumps(
        [
            {"index": output.index, "url": output.url, "base64": output.base64, "nsfw": nsfw.get(output.index)}
            for output in prediction.outputs
        ]
    ).decode()


def _most_attempts(error: UpstreamError, rules: LookRules) -> int:
    match error.kind:
        case "transient":
            return rules.max_attempts
        case "vague":
            return min(rules.max_attempts, 1 + VAGUE_REPLACEMENTS)
        case "permanent":
            return 0


def _lost() -> JobError:
    return JobError(
        code="output_unavailable",
        message="WaveSpeed no longer knows this prediction; retry with ?fresh=true to pay for a new one",
        retryable=True,
    )


def _too_long(timeout_ms: int) -> JobError:
    return JobError(
        code="generation_timeout",
        message=f"not generated within {timeout_ms // 1000} s; what still comes is kept in late_outputs",
        retryable=True,
    )
