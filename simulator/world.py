"""The simulated upstream without its HTTP: accounts, predictions, time and money.

Nothing here waits. Tasks end by timers on the event loop's own heap (one entry each, no asyncio task), so thousands in
flight cost next to nothing. Creation, billing and the rate are taken in one step that nothing can interrupt.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from simulator.accounts import Account
from simulator.clock import NANOSECONDS, Clock
from simulator.fates import decide_fate
from simulator.faults import FaultBook
from simulator.markers import markers_of
from simulator.predictions import MICROS, Prediction
from simulator.settings import Settings
from simulator.validation import SubmitRequest


class RateLimitedError(Exception):
    """Refused with 429; `retry_after_s` is when it would fit."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("rate limit exceeded")
        self.retry_after_s = retry_after_s


class InsufficientBalanceError(Exception):
    """The account can't pay for the submit."""


class World:
    """Everything the simulated upstream knows. All calls come from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock(lambda: self.settings.clock_offset_s)
        self.faults = FaultBook(settings.seed)
        self.accounts: dict[str, Account] = {}
        self.predictions: dict[str, Prediction] = {}
        self.forgotten = 0
        self.on_finished: list[Callable[[Prediction], None]] = []
        self.on_created: list[Callable[[Prediction], None]] = []
        self.on_changed: list[Callable[[Prediction], None]] = []
        self._orders = 0
        self._watchers: dict[str, list[asyncio.Future[None]]] = {}

    @staticmethod
    def tick() -> float:
        """Return the monotonic time that windows and looks are measured with."""
        return time.monotonic()

    def account(self, name: str) -> Account:
        """Return the account of a key's fingerprint, opening it on first sight."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = Account(name, self.settings)
        return account

    def owner(self, prediction: Prediction) -> Account:
        """Return the account that a prediction belongs to."""
        return self.accounts[prediction.key_fingerprint]

    def create(self, account: Account, request: SubmitRequest, *, body: bytes, webhook: str | None) -> Prediction:
        """Create, bill and start (or queue) a prediction.

        Raises `RateLimitedError` or `InsufficientBalanceError`; then nothing was created.
        """
        account, now = self.account(account.fingerprint), time.monotonic()  # a reset may have come in between
        charge = round(self.settings.price_per_image_usd * MICROS) * request.max_images
        if account.balance < charge:
            raise InsufficientBalanceError
        is_full = account.in_flight >= account.concurrency_limit(self.settings)
        if is_full and self.settings.concurrency_style == "refuse":
            account.rate_limited += 1
            raise RateLimitedError(1.0)
        refused_for_s = account.refused_for_s(now, request.max_images, self.settings)
        if refused_for_s is not None:
            raise RateLimitedError(refused_for_s)
        self._orders += 1
        prediction = Prediction(
            id=uuid.uuid4().hex,
            key_fingerprint=account.fingerprint,
            order=self._orders,
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            max_images=request.max_images,
            is_base64=request.is_base64,
            is_sync=request.is_sync,
            webhook=webhook,
            body=body,
            created_at_ns=self.clock.now_ns(),
            created_tick=now,
            received_at=time.time(),
            fate=decide_fate(request, self._orders, settings=self.settings, faults=self.faults),
            charged=charge,
            markers=markers_of(request.prompt),
        )
        account.admit(prediction, now)
        self._keep(prediction)
        self._tell(self.on_created, prediction)
        account.waiting.append(prediction)
        self._start_waiting(account)
        return prediction

    def restore(self, prediction: Prediction) -> None:
        """Take back a prediction of an earlier life; an unfinished one starts anew."""
        account = self.account(prediction.key_fingerprint)
        account.balance -= prediction.charged - prediction.refunded
        account.predictions.append(prediction)
        self._orders = max(self._orders, prediction.order)
        self._keep(prediction)
        if prediction.completed_at is None:
            account.in_flight += 1
            account.waiting.append(prediction)
            self._start_waiting(account)

    def find(self, account: Account, prediction_id: str) -> Prediction | None:
        """Return a prediction of this account unless it is past its life."""
        prediction = self.predictions.get(prediction_id)
        if prediction is None or self.owner(prediction) is not account or self.is_expired(prediction):
            return None
        return prediction

    def delete(self, prediction: Prediction) -> None:
        """Hide a prediction; if it runs, it goes on and stays billed."""
        prediction.is_deleted = True
        self._tell(self.on_changed, prediction)

    def is_expired(self, prediction: Prediction) -> bool:
        """Whether upstream has forgotten it (7 days)."""
        return self.clock.now_ns() - prediction.created_at_ns > self.settings.retention_s * NANOSECONDS

    def newest_first(self, account: Account) -> Iterator[Prediction]:
        """Yield what the list call may show of an account."""
        shown_before = time.monotonic() - self.settings.list_delay_s
        for prediction in reversed(account.predictions):
            is_listed = prediction.created_tick <= shown_before and not prediction.is_deleted
            if is_listed and not self.is_expired(prediction):
                yield prediction

    def finish(self, prediction: Prediction, *, status: str, code: int | None = None, error: str = "") -> None:
        """End a task that is not done: set what a look shows, refund a failure, free its slot, tell the watchers."""
        if prediction.is_done or self.predictions.get(prediction.id) is not prediction:
            return
        account = self.owner(prediction)
        was_running, was_in_flight = prediction.started_tick is not None, prediction.completed_at is None
        prediction.status, prediction.code, prediction.error = status, code, error
        prediction.completed_at = prediction.urls_minted_at = time.time()
        if status == "completed":
            count = prediction.fate.output_count
            prediction.output_count = prediction.max_images if count is None else min(count, prediction.max_images)
            ran_s = time.monotonic() - (prediction.started_tick or time.monotonic())
            prediction.inference_ms = round(ran_s * 1000)
        elif status == "failed":
            self._refund_later(prediction)
        if was_in_flight:
            account.in_flight -= 1
            if was_running:
                account.running -= 1
            else:
                account.waiting.remove(prediction)
        if prediction.is_done:
            for future in self._watchers.pop(prediction.id, ()):
                if not future.done():
                    future.set_result(None)
        self._tell(self.on_changed, prediction)
        self._tell(self.on_finished, prediction)
        self._start_waiting(account)

    async def wait_done(self, prediction: Prediction, timeout_s: float) -> bool:
        """Wait until the prediction is done; False if that takes longer."""
        if prediction.is_done:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(prediction.id, []).append(future)
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return False
        return True

    def apply(self, changes: dict[str, Any]) -> None:
        """Change settings live; raise `SettingsError` and change nothing if they don't fit."""
        self.settings = self.settings.changed(changes)
        for account in self.accounts.values():
            own = account.own(self.settings).get("balance")
            if own is not None and "accounts" in changes:
                account.balance = round(own * MICROS)
            elif own is None and "balance" in changes:
                account.balance = round(self.settings.balance * MICROS)
            self._start_waiting(account)

    def reset(self) -> None:
        """Forget predictions, accounts, faults and marks; settings stay. Timers of the forgotten do nothing."""
        self.accounts.clear()
        self.predictions.clear()
        self.faults.clear()
        self.faults.fired.clear()
        self._orders = self.forgotten = 0
        for futures in self._watchers.values():
            for future in futures:
                future.cancel()
        self._watchers.clear()

    @staticmethod
    def _tell(listeners: list[Callable[[Prediction], None]], prediction: Prediction) -> None:
        for listener in listeners:
            listener(prediction)

    def _keep(self, prediction: Prediction) -> None:
        self.predictions[prediction.id] = prediction
        while len(self.predictions) > self.settings.max_predictions:
            oldest = next(iter(self.predictions.values()))
            if not oldest.is_done:
                break
            del self.predictions[oldest.id]
            self.owner(oldest).predictions.remove(oldest)
            self.forgotten += 1

    def _start_waiting(self, account: Account) -> None:
        """Start tasks in the order they came, as far as the account's concurrency goes."""
        limit = account.concurrency_limit(self.settings)
        while account.waiting and account.running < limit:
            prediction = account.waiting.popleft()
            account.running += 1
            account.max_running = max(account.max_running, account.running)
            prediction.started_tick = time.monotonic()
            prediction.status = prediction.fate.interim or "processing"
            asyncio.get_running_loop().call_later(prediction.fate.duration_s, self._end_as_fated, prediction)

    def _end_as_fated(self, prediction: Prediction) -> None:
        fate = prediction.fate
        self.finish(prediction, status=fate.status, code=fate.code, error=fate.error)

    def _refund_later(self, prediction: Prediction) -> None:
        def refund() -> None:
            if not prediction.refunded and self.predictions.get(prediction.id) is prediction:
                prediction.refunded = prediction.charged
                prediction.refunded_at_ns = self.clock.now_ns()
                self.owner(prediction).balance += prediction.charged
                self._tell(self.on_changed, prediction)

        if self.settings.refund_delay_s > 0:
            asyncio.get_running_loop().call_later(self.settings.refund_delay_s, refund)
        else:
            refund()
