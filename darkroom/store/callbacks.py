"""What upstream's callbacks ask of the store: the key of their tokens, and the moves that one brings about."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from darkroom.line.lanes import DEFAULT_LANE
from darkroom.store import keys
from darkroom.store.attempts import AttemptStore, Moved, TakenOver
from darkroom.store.scripts import Scripts
from darkroom.upstream.callback_tokens import KEY_BYTES, SendName

READ_KEY_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Called:
    """What a callback brought about: what became of the prediction's id, and whether it is looked at now.

    `taken_over`: a failover had lost the send, and this became of giving its job the prediction.
    """

    moved: Moved
    looks: bool
    taken_over: TakenOver | None = None


class CallbackStore:
    """One process' view of the cell's callbacks."""

    def __init__(self, redis: Redis, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._scripts = Scripts.shared(redis)
        self._attempts = AttemptStore(redis)
        self._now_s = now_s
        self._key: str | None = None
        self._read_at_s = 0.0

    async def key(self) -> bytes:
        """Give the key that all processes of the cell make and check tokens with; the first to ask makes it.

        It is read again every minute. Where the store has lost it, it gets it back from whoever still has it, so that
        tokens on their way stay good; while the store is away the known one stays in use.

        Raises:
            redis.exceptions.RedisError: it is not known and can't be read; retryable.
        """
        if self._key is None or self._now_s() - self._read_at_s >= READ_KEY_EVERY_S:
            try:
                self._key = await self._agree_on_key(self._key or secrets.token_hex(KEY_BYTES))
                self._read_at_s = self._now_s()
            except RedisError:
                if self._key is None:
                    raise
        return self._key.encode()

    async def _agree_on_key(self, proposed: str) -> str:
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(keys.CALLBACK_KEY, proposed, nx=True)
        pipe.get(keys.CALLBACK_KEY)
        _, agreed = await pipe.execute()
        return str(agreed)

    async def take(self, name: SendName, prediction_id: str) -> Called:
        """Record the prediction of a send as a fact, as its direct answer would be, and have it looked at now.

        One round trip, and repeating it changes nothing: each part knows the prediction. Where the store knows nothing
        of the send because a failover lost its intent, the job that waits gets the prediction, rather than another one.

        Raises:
            redis.exceptions.RedisError: retryable; it may or may not have been recorded.
        """
        job_id, attempt, send = name.job_id, name.attempt, name.send
        moved, looks = await self._scripts.call_all(
            [
                ("submit_accepted", (job_id, attempt, send, prediction_id, 0, 0)),
                ("called_back", (job_id, attempt, prediction_id)),
            ]
        )
        taken_over = None
        if Moved(moved) is Moved.STALE:
            seconds, microseconds = await self._redis.time()
            taken_over = await self._attempts.take_over(
                job_id,
                prediction_id=prediction_id,
                lane=DEFAULT_LANE,
                created_ms=seconds * 1000 + microseconds // 1000,
            )
        return Called(Moved(moved), bool(looks), taken_over)
