"""The sends of a lane that are not settled: under way, lost, or left open for an operator."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import orjson
from redis.asyncio import Redis

from darkroom.store import keys
from darkroom.store.attempts import Ticket
from darkroom.store.view import request_view

CHUNK = 500
_FIELDS = ("state", "lease", "sends", "sent_ms", "unknown_ms", "unknown", "key")


@dataclass(frozen=True, slots=True)
class OpenSend:
    """One send that may have created a prediction. Times in Unix ms, server time.

    `wanted` names its prompt, size and number of images; `unknown_ms` is when its last byte can have left at the latest
    (None while it is under way); `key` is the fingerprint of the upstream key it was made with.
    """

    ticket: Ticket
    state: str
    send: int
    wanted: str
    sent_ms: int
    unknown_ms: int | None
    why: str
    key: str

    @property
    def lost(self) -> bool:
        """Whether it is to be settled now."""
        return self.state == "unconfirmed" and self.unknown_ms is not None


def wanted_name(prompt: str, size: str, max_images: int) -> str:
    """Name a request: equal names mean interchangeable outputs."""
    return hashlib.sha256(orjson.dumps([prompt, size.replace("x", "*"), max_images])).hexdigest()


async def read_open_sends(redis: Redis, lane: str) -> list[OpenSend]:
    """Give the lane's unsettled sends, oldest first."""
    members = cast(list[str], await redis.zrange(keys.open_sends(lane), 0, -1))
    found: list[OpenSend] = []
    for start in range(0, len(members), CHUNK):
        found.extend(await _read(redis, members[start : start + CHUNK]))
    return found


async def _read(redis: Redis, members: Iterable[str]) -> Iterator[OpenSend]:
    names = [(job_id, int(number)) for job_id, _, number in (member.rpartition(":") for member in members)]
    pipe = redis.pipeline(transaction=False)
    for job_id, number in names:
        pipe.hmget(keys.attempt(job_id, number), _FIELDS)
        pipe.hget(keys.job(job_id), "request")
    replies = await pipe.execute()
    sends = (_open_send(job_id, number, replies[2 * i], replies[2 * i + 1]) for i, (job_id, number) in enumerate(names))
    return (send for send in sends if send is not None)


def _open_send(job_id: str, number: int, values: list[str | None], request: str | None) -> OpenSend | None:
    state, lease, sends, sent_ms, unknown_ms, why, key = values
    if state not in ("submitting", "unconfirmed", "failed") or request is None or sent_ms is None:
        return None  # its record is gone, or it has been settled meanwhile
    asked = request_view(orjson.loads(request))
    return OpenSend(
        ticket=Ticket(job_id, number, int(lease or 0)),
        state=state,
        send=int(sends or 0),
        wanted=wanted_name(asked["prompt"], asked["size"], asked["max_images"]),
        sent_ms=int(sent_ms),
        unknown_ms=int(unknown_ms) if unknown_ms is not None and state != "submitting" else None,
        why=why or "",
        key=key or "",
    )
