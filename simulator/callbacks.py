"""Calling back: the bare prediction, signed, tried again up to three times, or spoiled by a fault.

The signature is HMAC-SHA256 over `id.timestamp.raw_body`, keyed with the secret's text after `whsec_` (vendor
documentation, "Verifying Webhooks").
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp

from simulator.accounts import Account
from simulator.faults import CALLBACK, Fault
from simulator.predictions import Prediction
from simulator.wire import json_body
from simulator.world import World

_log = logging.getLogger("simulator.callbacks")


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the value of the `webhook-signature` header."""
    key = secret.removeprefix("whsec_").encode()
    return "v3," + hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


class CallbackSender:
    """Sends the callbacks of finished predictions in the background. Close it to drop those under way."""

    def __init__(self, world: World, describe: Callable[[Prediction], dict[str, Any]]) -> None:
        self._world = world
        self._describe = describe
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._arrivals: dict[str, asyncio.Event] = {}
        self.counts = {"sent": 0, "delivered": 0, "given_up": 0}
        world.on_finished.append(self._on_finished)

    async def close(self) -> None:
        """Cancel what is under way and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def cancel_all(self) -> None:
        """Drop all callbacks under way and start counting anew."""
        for task in self._tasks:
            task.cancel()
        self._arrivals.clear()
        self.counts.update(dict.fromkeys(self.counts, 0))

    async def wait_sent(self, prediction: Prediction, timeout_s: float) -> None:
        """Wait until the first callback of a prediction was answered, or the time is over."""
        event = self._arrivals.setdefault(prediction.id, asyncio.Event())
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return
        finally:
            self._arrivals.pop(prediction.id, None)

    def _on_finished(self, prediction: Prediction) -> None:
        if prediction.webhook is None or prediction.status not in ("completed", "failed"):
            return
        task = asyncio.get_running_loop().create_task(self._call_back(prediction, self._world.owner(prediction)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call_back(self, prediction: Prediction, account: Account) -> None:
        faults = {kind: fault for kind in CALLBACK if (fault := self._fault(kind, prediction)) is not None}
        if "callback_never" in faults:
            return
        if late := faults.get("callback_late"):
            await asyncio.sleep(late.seconds or 0.0)
        body, message_id = json_body(self._describe(prediction)), uuid.uuid4().hex
        duplicate = faults.get("callback_duplicate")
        for _ in range((duplicate.count or 2) if duplicate else 1):
            await self._deliver(prediction, account, message_id, body, faults)

    async def _deliver(
        self, prediction: Prediction, account: Account, message_id: str, body: bytes, faults: dict[str, Fault]
    ) -> None:
        settings = self._world.settings
        for attempt in range(settings.callback_retries + 1):
            if attempt:
                await asyncio.sleep(settings.callback_retry_s * 2 ** (attempt - 1))
            headers = self._headers(account, message_id, body, faults)
            self.counts["sent"] += 1
            is_accepted = await self._post(prediction.webhook or "", body, headers)
            if event := self._arrivals.get(prediction.id):
                event.set()
            if is_accepted:
                self.counts["delivered"] += 1
                return
        self.counts["given_up"] += 1

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> bool:
        settings = self._world.settings
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=settings.callback_timeout_s))
        try:
            async with self._session.post(
                url, data=body, headers=headers, ssl=settings.callback_verify_tls, allow_redirects=False
            ) as response:
                return 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.info("callback not delivered: %s", type(error).__name__)
            return False

    def _headers(self, account: Account, message_id: str, body: bytes, faults: dict[str, Fault]) -> dict[str, str]:
        now = self._world.clock.now()
        if stale := faults.get("callback_stale"):
            now -= stale.seconds or 0.0
        timestamp = str(int(now))
        secret = account.webhook_secret(self._world.settings)
        if "callback_bad_signature" in faults:
            secret += "-wrong"
        return {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(secret, message_id, timestamp, body),
        }

    def _fault(self, kind: str, prediction: Prediction) -> Fault | None:
        return self._world.faults.take(
            (kind,), call="callback", prompt=prediction.prompt, markers=prediction.markers, scope=prediction.id
        )
