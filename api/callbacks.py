"""Upstream's callbacks as the ingress takes them: which send one is about, whether it is upstream's, what it says.

What a callback says is a hint. Its prediction's id is recorded, and the result is read again before anything is stored.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from api.problems import Problem
from darkroom.errors import RetryableError
from darkroom.store.attempts import Moved
from darkroom.store.callbacks import CallbackStore, Called
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.callback_tokens import SendName, read_token
from darkroom.upstream.callbacks import parse_callback, verify_callback
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.errors import InvalidCallbackError, UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.outcomes import Prediction

SECRET_AGAIN_S = 60.0
"""Between two readings of a secret that signatures don't fit: it may have been rotated, or they may be forged."""

SECRET_PATIENCE_S = 8.0
"""How long a callback waits for the secret; upstream gives a callback up after about ten seconds."""

KEYLESS_RETRY_S = 60.0
log = get_logger(__name__)


class SigningSecret:
    """What upstream signs with: read when it is first needed, and again when it does not fit; one reading at a time."""

    def __init__(self, read: Callable[[], Awaitable[str]], *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now_s = now_s
        self._known: str | None = None
        self._read_at_s = 0.0
        self._reading: asyncio.Task[str] | None = None

    async def get(self) -> str:
        """Give the secret.

        Raises:
            RetryableError: it can't be read now.
        """
        return self._known if self._known is not None else await self._read_again()

    async def instead_of(self, misfit: str) -> str:
        """Give the secret that has taken this one's place; the same one while it was read a short time ago.

        Raises as `get`.
        """
        if self._known is None or (self._known == misfit and self._now_s() - self._read_at_s >= SECRET_AGAIN_S):
            return await self._read_again()
        return self._known

    async def _read_again(self) -> str:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._keep(self._read))
            self._reading.add_done_callback(_look_at_failure)
        try:
            async with asyncio.timeout(SECRET_PATIENCE_S):
                return await asyncio.shield(self._reading)
        except (UpstreamUnavailableError, TimeoutError) as error:
            raise RetryableError("the secret of upstream's signatures can't be read now", delay_s=5) from error
        except UnauthorizedError as error:
            why = "upstream does not give the secret of its signatures to this key"
            raise RetryableError(why, delay_s=KEYLESS_RETRY_S) from error

    async def _keep(self, read: Callable[[], Awaitable[str]]) -> str:
        secret = await read()
        self._known, self._read_at_s = secret, self._now_s()
        return secret


def _look_at_failure(reading: "asyncio.Task[str]") -> None:
    """Note why a reading failed: those who waited for it may be gone."""
    if not reading.cancelled() and (error := reading.exception()) is not None:
        log.warning("callback.no_secret", why=str(error))


def _misfit(headers: Mapping[str, str], body: bytes, secret: str) -> str | None:
    """Say why a callback is not one that was signed with this secret just now; None: it is."""
    try:
        verify_callback(headers, body, secret, now_s=time.time())
    except InvalidCallbackError as error:
        return str(error)
    return None


class Callbacks:
    """Takes the callbacks of one ingress process; `upstream` is None where it has no key."""

    def __init__(self, store: CallbackStore, upstream: UpstreamClient | None) -> None:
        self._store = store
        self._secret = None if upstream is None else SigningSecret(upstream.webhook_secret)

    async def name_of(self, token: str) -> SendName:
        """Say which send a token names.

        Raises:
            Problem: `not_found`, as for any address that there is nothing at.
        """
        name = read_token(token, await self._store.key())
        if name is None:
            raise Problem("not_found", "there is nothing at this address; /docs lists what there is")
        return name

    async def read(self, headers: Mapping[str, str], body: bytes) -> Prediction:
        """Check that upstream has signed this just now, and read it.

        Raises:
            Problem: `invalid_signature`, or `bad_request` for what is signed and names no prediction.
            RetryableError: what signatures are checked with can't be had now.
        """
        if self._secret is None:
            raise RetryableError("this process has no WAVESPEED_API_KEY to check it with", delay_s=KEYLESS_RETRY_S)
        secret = await self._secret.get()
        if (problem := _misfit(headers, body, secret)) is not None:
            renewed = await self._secret.instead_of(secret)
            if renewed == secret or (problem := _misfit(headers, body, renewed)) is not None:
                raise Problem("invalid_signature", problem)
        try:
            return parse_callback(body)
        except InvalidCallbackError as error:
            raise Problem("bad_request", str(error)) from None

    async def take(self, name: SendName, prediction: Prediction) -> Called:
        """Record what it says, and have the prediction looked at.

        Raises:
            redis.exceptions.RedisError: retryable, and to be repeated by upstream.
        """
        called = await self._store.take(name, prediction.id)
        line = log.bind(job_id=name.job_id, attempt=name.attempt, send=name.send, prediction_id=prediction.id)
        say = line.error if called.moved in (Moved.DUPLICATE, Moved.FOREIGN) else line.info
        taken_over = called.taken_over.name if called.taken_over is not None else None
        say("callback.taken", status=prediction.status, moved=called.moved.name, looks=called.looks, took=taken_over)
        return called
