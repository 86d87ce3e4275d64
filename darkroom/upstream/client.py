"""The client of one WaveSpeed account: submit, look, and what the ledger and the lanes need to know.

The submit is sent exactly once and never repeated: it is not idempotent, and every repeat may bill again. Looks are
tried once as well, because the poller looks again anyway. The read-only calls are tried a few times.
"""

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from darkroom.moments import moment_text
from darkroom.upstream.calls import Calls
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.failures import describe, is_network_failure, never_left, was_held_up
from darkroom.upstream.mapping import Answer, look_outcome, submit_outcome
from darkroom.upstream.outcomes import (
    MODEL,
    Billing,
    Completed,
    ListPage,
    LookOutcome,
    NeverLeft,
    NotFound,
    Price,
    Submission,
    SubmitOutcome,
    Unavailable,
    Unknown,
)
from darkroom.upstream.session import CONNECT_TIMEOUT_S, notice_closed_connections, written_until
from darkroom.upstream.wire import number, parse_billing, parse_prediction, parse_price, whole_number

SYNC_WAIT_S = 90.0
"""How long upstream itself holds a submit in sync mode."""

SYNC_MARGIN_S = 30.0
LOOK_ANSWER_S = 20.0
RESULT_ANSWER_S = 600.0
LIST_ANSWER_S = 60.0
CONTROL_ANSWER_S = 15.0

TRIES = 3
LONGEST_PAUSE_S = 5.0
"""Upstream naming a longer pause than this ends the tries; the caller has a timer for such waits."""


def fingerprint_of_key(api_key: str) -> str:
    """Name a key without telling it: what a lost send was made with must be what it is looked for with."""
    return hashlib.sha256(b"darkroom upstream key\0" + api_key.encode()).hexdigest()[:12]


class UpstreamClient:
    """Calls one account; safe to share between any number of coroutines of one loop."""

    def __init__(self, *, session: aiohttp.ClientSession, base_url: str, api_key: str, submit_timeout_s: float) -> None:
        self._calls = Calls(session=session, base_url=base_url, api_key=api_key)
        self._submit_timeout_s = submit_timeout_s
        self.key_fingerprint = fingerprint_of_key(api_key)

    def submit_deadline_s(self, submission: Submission) -> float:
        """Give the longest that `submit` can take, connecting included."""
        return CONNECT_TIMEOUT_S + self._submit_answer_s(submission)

    def _submit_answer_s(self, submission: Submission) -> float:
        least_s = SYNC_WAIT_S + SYNC_MARGIN_S if submission.enable_sync_mode else 0.0
        return max(self._submit_timeout_s, least_s)

    async def submit(
        self, submission: Submission, *, callback_url: str | None = None, until_s: float = math.inf
    ) -> SubmitOutcome:
        """POST once and say what came of it; no trouble of the network raises.

        Past `until_s` (of `session.steady_s`) nothing is written any more: it has never left.

        With base64 output the callback is left out: upstream refuses the two together. Cancelling it leaves the outcome
        unknown.
        """
        path = f"/api/v3/{MODEL}"
        calls_back = callback_url is not None and not submission.enable_base64_output
        if callback_url is not None and calls_back:
            path += f"?webhook={quote(callback_url, safe='')}"
        await notice_closed_connections()
        if self._calls.is_closed:
            return NeverLeft("the HTTP session is closed")
        sent_at = datetime.now(UTC)
        try:
            with written_until(until_s, submission):
                answer = await self._calls.control(
                    "POST", path, body=submission.body(), answer_s=self._submit_answer_s(submission)
                )
        except Exception as error:
            # Whatever went wrong after the request may have left is unknown, a mistake of this program included.
            if never_left(error):
                return NeverLeft(describe(error), held_up=was_held_up(error))
            return Unknown(describe(error), None, sent_at, datetime.now(UTC))
        ended_at = datetime.now(UTC)
        return submit_outcome(answer, submission, sent_at=sent_at, ended_at=ended_at, calls_back=calls_back)

    async def look(self, prediction_id: str) -> LookOutcome:
        """GET the result once; base64 outputs are checked and dropped while they arrive."""
        outcome, _ = await self._look(prediction_id, answer_s=LOOK_ANSWER_S, spool_dir=None)
        return outcome

    async def read_result(self, prediction_id: str, *, spool_dir: Path) -> tuple[LookOutcome, dict[int, Path]]:
        """GET the result once and give its base64 outputs as files in `spool_dir`, by index; the caller deletes them.

        Raises:
            SpoolError: a file could not be written; retryable, and none is left.
        """
        return await self._look(prediction_id, answer_s=RESULT_ANSWER_S, spool_dir=spool_dir)

    async def _look(
        self, prediction_id: str, *, answer_s: float, spool_dir: Path | None
    ) -> tuple[LookOutcome, dict[int, Path]]:
        if prediction_id in ("", ".", ".."):
            return NotFound("that is no prediction id"), {}
        try:
            answer = await self._calls.result(
                f"/api/v3/predictions/{quote(prediction_id, safe='')}/result", answer_s=answer_s, spool_dir=spool_dir
            )
        except Exception as error:
            if not is_network_failure(error):
                raise
            return Unavailable(describe(error)), {}
        outcome = look_outcome(answer, prediction_id)
        files = answer.output_files() if isinstance(outcome, Completed) else {}
        for path in set(answer.document.spooled) - set(files.values()):
            path.unlink(missing_ok=True)
        return outcome, files

    async def list_predictions(
        self,
        *,
        page: int,
        page_size: int = 100,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        model: str = MODEL,
    ) -> ListPage:
        """List predictions of the last seven days, newest first.

        Raises:
            UpstreamUnavailableError: no page could be read; retryable, and proves nothing about what exists.
            UnauthorizedError: the key is not accepted, or not for this call.
        """
        body: dict[str, Any] = {"page": page, "page_size": page_size, "model": model}
        if created_after is not None:
            body["created_after"] = moment_text(created_after)
        if created_before is not None:
            body["created_before"] = moment_text(created_before)
        answer = await self._read_only("POST", "/api/v3/predictions", body=body, answer_s=LIST_ANSWER_S)
        entries, total = _items(answer)
        items = tuple(found for entry in entries if (found := parse_prediction(entry, secret=answer.secret)))
        seen = (page - 1) * page_size + len(entries)
        return ListPage(
            items=items,
            total=total,
            server_date=answer.server_date,
            complete=len(items) == len(entries),
            is_last=not entries or (len(entries) < page_size and (total is None or seen >= total)),
        )

    async def balance(self) -> float:
        """Give the account's balance in USD; raises as `list_predictions`."""
        answer = await self._read_only("GET", "/api/v3/balance")
        found = number(answer.data.get("balance")) if isinstance(answer.data, dict) else None
        if found is None:
            raise _unreadable("balance")
        return found

    async def price(self, submission: Submission) -> Price:
        """Ask what a submission would cost, without making it; raises as `list_predictions`."""
        body = {"model_id": MODEL, "inputs": submission.body()}
        found = parse_price((await self._read_only("POST", "/api/v3/model/price", body=body)).data)
        if found is None:
            raise _unreadable("price quote")
        return found

    async def billings(
        self, prediction_ids: Sequence[str], billing_type: Literal["deduct", "refund"] | None = None
    ) -> tuple[Billing, ...]:
        """Give the charges and refunds of some predictions (at most 100 records); raises as `list_predictions`."""
        body: dict[str, Any] = {"page": 1, "page_size": 100, "prediction_uuids": list(prediction_ids)}
        if billing_type is not None:
            body["billing_type"] = billing_type
        entries, _ = _items(await self._read_only("POST", "/api/v3/billings/search", body=body))
        return tuple(found for entry in entries if (found := parse_billing(entry)))

    async def webhook_secret(self) -> str:
        """Give the secret that upstream signs callbacks with; raises as `list_predictions`."""
        data = (await self._read_only("GET", "/api/v3/webhook/secret")).data
        candidates = list(data.values()) if isinstance(data, dict) else [data]
        for candidate in candidates:
            if isinstance(candidate, str) and candidate.startswith("whsec_"):
                return candidate
        raise _unreadable("webhook secret")

    async def delete(self, prediction_id: str) -> bool:
        """Delete a prediction, tried once; False if upstream does not know it.

        A generation that is running may go on and be billed all the same.
        """
        if prediction_id in ("", ".", ".."):
            return False
        try:
            path = f"/api/v3/predictions/{quote(prediction_id, safe='')}"
            await self._try_once("DELETE", path, None, CONTROL_ANSWER_S)
        except UpstreamUnavailableError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _read_only(
        self, method: str, path: str, *, body: Any = None, answer_s: float = CONTROL_ANSWER_S
    ) -> Answer:
        """Make a call that changes nothing upstream, a few times if need be."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=_pause,
            retry=retry_if_exception(_is_worth_another_try),
            reraise=True,
        )
        return await retrying(self._try_once, method, path, body, answer_s)

    async def _try_once(self, method: str, path: str, body: Any, answer_s: float) -> Answer:
        try:
            answer = await self._calls.control(method, path, body=body, answer_s=answer_s)
        except Exception as error:
            if not is_network_failure(error):
                raise
            raise UpstreamUnavailableError(describe(error)) from None
        if answer.is_success and answer.document.problem is None:
            return answer
        status = answer.effective_status
        if status in (401, 403):
            raise UnauthorizedError(f"upstream answered {status}: {answer.text}", status=status)
        raise UpstreamUnavailableError(
            f"upstream answered {status}: {answer.document.problem or answer.text}",
            delay_s=1.0 if answer.retry_after_s is None else answer.retry_after_s,
            status=status,
            is_passing=status == 429 or status >= 500 or answer.is_success,
        )


def _is_worth_another_try(error: BaseException) -> bool:
    return isinstance(error, UpstreamUnavailableError) and error.is_passing and error.delay_s <= LONGEST_PAUSE_S


_backoff = wait_random_exponential(multiplier=0.25, max=2.0)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked_s = error.delay_s if isinstance(error, UpstreamUnavailableError) and error.status == 429 else 0.0
    return max(asked_s, _backoff(state))


def _items(answer: Answer) -> tuple[list[Any], int | None]:
    """Give the entries of a page and how many there are in all."""
    data = answer.data
    if not isinstance(data, dict) or not isinstance(data.get("items"), list):
        raise _unreadable("list")
    return data["items"], whole_number(data.get("total"))


def _unreadable(what: str) -> UpstreamUnavailableError:
    return UpstreamUnavailableError(f"upstream's answer holds no {what}", is_passing=False)
