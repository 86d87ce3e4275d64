"""Where upstream is told to call back: an address of our ingress with a token that names the send."""

import time
from collections.abc import Callable

from darkroom.settings import Settings
from darkroom.store.attempts import Ticket
from darkroom.store.callbacks import CallbackStore
from darkroom.telemetry.logs import get_logger
from darkroom.upstream.callback_tokens import PATH, SendName, make_token

REFUSED_FOR_S = 600.0
"""How long no callback is asked for once upstream has refused our address: without one, jobs go on."""

log = get_logger(__name__)


class Callbacks:
    """What one worker process asks upstream for; nothing while the setting is off."""

    def __init__(
        self, settings: Settings, store: CallbackStore, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        is_on = settings.upstream.callbacks == "on"
        self._base_url = settings.service.public_url if is_on else None
        self._store = store
        self._now_s = now_s
        self._off_until_s: float | None = None

    async def key(self) -> bytes | None:
        """Give what the tokens are made with; None: no callback is to be asked for now.

        Raises:
            redis.exceptions.RedisError: retryable; it can't be read.
        """
        if self._base_url is None or (self._off_until_s is not None and self._now_s() < self._off_until_s):
            return None
        return await self._store.key()

    def url(self, ticket: Ticket, *, send: int, key: bytes) -> str:
        """Give the address for one send. It is a secret: it is sent to upstream and shown nowhere."""
        token = make_token(SendName(ticket.job_id, ticket.attempt, send), key)
        return f"{self._base_url}{PATH}{token}"

    def refused(self, why: str) -> None:
        """Ask for none for a while: upstream does not take the address, which is no job's fault."""
        if self._off_until_s is None or self._now_s() >= self._off_until_s:
            log.error("callbacks.refused", why=why, without_for_s=REFUSED_FOR_S)
        self._off_until_s = self._now_s() + REFUSED_FOR_S
