"""What the workers ask of the store: the moves of one attempt, from intent to stored outputs.

Every move is fenced by the attempt's lease (a send's direct answer by the send's number), so a worker that lost its
lease can neither finish nor restart anything; it is told `STALE` and stops.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import orjson
from redis.asyncio import Redis

from darkroom.jobs import JobError, JobRequest
from darkroom.store.records import JobRecord, pairs
from darkroom.store.scripts import Scripts

Callback = Literal["", "awaited", "doubted"]
"""Whether upstream is still to call back about an attempt; `doubted`: the lane's last callbacks did not come."""


class Moved(IntEnum):
    """What a move answered."""

    DONE = 1
    OTHER = 2
    ENDED_BEFORE = 3
    NOTHING = 0
    STALE = -1
    FOREIGN = -3
    DUPLICATE = -4


class TakenOver(IntEnum):
    """What became of giving a waiting job a prediction."""

    DONE = 1
    KNOWN = 0
    NOT_WAITING = -1
    ADMITTED = -2
    FOREIGN = -3


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to work on one attempt, as messages carry it."""

    job_id: str
    attempt: int
    lease: int

    def to_message(self) -> list[str | int]:
        """Give the JSON form."""
        return [self.job_id, self.attempt, self.lease]

    @classmethod
    def from_message(cls, raw: Sequence[str | int]) -> "Ticket":
        """Read the JSON form.

        Raises:
            ValueError: not a ticket; permanent, the message is of another version or broken.
        """
        job_id, attempt, lease = raw
        return cls(str(job_id), int(attempt), int(lease))

    @property
    def due_member(self) -> str:
        """The attempt's entry in the due set."""
        return f"j:{self.job_id}:{self.attempt}"

    @property
    def key(self) -> tuple[str, int, int]:
        """The three arguments that every move starts with."""
        return self.job_id, self.attempt, self.lease


@dataclass(frozen=True, slots=True)
class Intent:
    """A send that is written down and may be made now, once; `callback` says whether upstream is to call back."""

    send: int
    request: JobRequest
    callback: Callback = ""


@dataclass(frozen=True, slots=True)
class Absence:
    """What speaks for a lost send never having created anything.

    `listings` counts complete ones; `since_last_byte_ms` is from the last byte's latest time to the last one's start.
    """

    listings: int
    since_last_byte_ms: int
    absent_before: int


@dataclass(frozen=True, slots=True)
class StoreClaim:
    """An attempt whose outputs the holder of `ticket` stores; `now_ms` is the server's time of the claim."""

    ticket: Ticket
    now_ms: int
    record: JobRecord


class AttemptStore:
    """Moves of attempts. Every method is one round trip and raises redis' errors, which are retryable."""

    def __init__(self, redis: Redis) -> None:
        self.scripts = Scripts.shared(redis)

    async def begin_submit(
        self,
        ticket: Ticket,
        *,
        lease_ms: int,
        sync_lease_ms: int,
        key: str,
        mark: str = "",
        calls_back: bool = False,
    ) -> Intent | None:
        """Write the intent to send down; None: stale, or the lane paused and the job is back in its place.

        With a `mark` of its own the caller may repeat the call after a lost answer, and learns of its own intent.
        `calls_back`: upstream is to call back, where the request allows that; the intent says whether it does.
        """
        reply = await self.scripts.call(
            "begin_submit", *ticket.key, lease_ms, key, sync_lease_ms, mark, "1" if calls_back else ""
        )
        if int(reply[0]) != Moved.DONE:
            return None
        return Intent(int(reply[1]), JobRequest.model_validate(orjson.loads(reply[2])), reply[3])

    async def accepted(
        self, ticket: Ticket, *, send: int, prediction_id: str, look_in_ms: int, adopted: bool = False
    ) -> Moved:
        """Record the prediction of a send: a fact fenced by the send's number, or (`adopted`) a conclusion."""
        reply = await self.scripts.call(
            "submit_accepted", ticket.job_id, ticket.attempt, send, prediction_id, look_in_ms, int(adopted)
        )
        return Moved(reply)

    async def absent(self, ticket: Ticket, *, look_in_ms: int, mark: str, began_ms: int) -> Absence | None:
        """Note that a complete listing did not hold the prediction of a lost send; None: stale.

        `mark` names the listing, which counts once, and `began_ms` (server time) is when it began.
        """
        reply = await self.scripts.call("submit_absent", *ticket.key, look_in_ms, mark, began_ms)
        return Absence(int(reply[0]), int(reply[1]), int(reply[2])) if int(reply[0]) >= 0 else None

    async def resumed(self, ticket: Ticket) -> Moved:
        """Note that upstream still works on a prediction that a retry asked about."""
        return Moved(await self.scripts.call("resumed", *ticket.key))

    async def claim_sweep(self, lane: str, mark: str, *, hold_ms: int) -> bool:
        """Take, or renew, the right to look for the lane's lost sends; False: somebody else has it."""
        return int(await self.scripts.call("sweep", lane, mark, hold_ms, "")) == 1

    async def end_sweep(self, lane: str, mark: str, *, pause_ms: int) -> None:
        """Give that right back; the next sweep of the lane may begin after the pause."""
        await self.scripts.call("sweep", lane, mark, pause_ms, "1")

    async def take_over(
        self, job_id: str, *, prediction_id: str, lane: str, created_ms: int, look_in_ms: int = 0
    ) -> TakenOver:
        """Give a waiting job a prediction that was bought for it before a failover lost what told of that."""
        return TakenOver(await self.scripts.call("take_over", job_id, prediction_id, lane, created_ms, look_in_ms))

    async def returned(self, ticket: Ticket, why: str) -> Moved:
        """Take a send back that created nothing; `why` is `never_left`, `not_now` or `absent`."""
        return Moved(await self.scripts.call("submit_returned", *ticket.key, why))

    async def unknown(self, ticket: Ticket, *, look_in_ms: int, message: str) -> Moved:
        """Mark a send whose answer was lost."""
        return Moved(await self.scripts.call("submit_unknown", *ticket.key, look_in_ms, message))

    async def unadmit(self, tickets: Iterable[Ticket]) -> None:
        """Put admitted jobs that were never sent back to their places."""
        await self.scripts.call_all([("unadmit", ticket.key) for ticket in tickets])

    async def hand_over(
        self, ticket: Ticket, *, sources: str, inference_ms: int | None, polls: int, wait_ms: int
    ) -> Ticket | None:
        """Pass a completed prediction's outputs on to be stored; None: stale."""
        inference = "" if inference_ms is None else inference_ms
        reply = await self.scripts.call("hand_over", *ticket.key, sources, inference, polls, wait_ms)
        return Ticket(ticket.job_id, ticket.attempt, int(reply[1])) if int(reply[0]) == Moved.DONE else None

    async def claim_store(self, ticket: Ticket, *, lease_ms: int) -> StoreClaim | None:
        """Take an attempt's outputs to store; None: stale."""
        reply = await self.scripts.call("claim_store", *ticket.key, lease_ms)
        if int(reply[0]) != Moved.DONE:
            return None
        record = JobRecord(ticket.job_id, pairs(reply[3]), pairs(reply[4]))
        return StoreClaim(Ticket(ticket.job_id, ticket.attempt, int(reply[1])), int(reply[2]), record)

    async def bring_back(self, ticket: Ticket, *, delay_ms: int) -> None:
        """Have a store message that this worker has no room for sent again soon."""
        await self.scripts.call("bring_back", *ticket.key, delay_ms)

    async def save_output(self, ticket: Ticket, index: int, output: str) -> Moved:
        """Keep one stored output (JSON), so that a later try copies only what is missing."""
        return Moved(await self.scripts.call("save_output", *ticket.key, index, output))

    async def store_later(
        self, ticket: Ticket, *, delay_ms: int, message: str, gone: bool = False, sources: str | None = None
    ) -> Moved:
        """Let go of an attempt that could not be stored whole yet; `gone`: because upstream does not have it."""
        return Moved(await self.scripts.call("store_later", *ticket.key, delay_ms, message, sources or "", int(gone)))

    async def complete(self, ticket: Ticket, *, delivered: int, finished_ms: int) -> Moved:
        """Say that all is stored: `DONE` completes the job, `OTHER` keeps late outputs of one that had ended."""
        return Moved(await self.scripts.call("complete", *ticket.key, delivered, finished_ms))

    async def failed(
        self,
        ticket: Ticket,
        error: JobError,
        *,
        created_nothing: bool = False,
        max_attempts: int = 0,
        polls: int | None = None,
    ) -> Moved:
        """End an attempt that yields nothing: `DONE` fails the job, `OTHER` gives it a new attempt in its place."""
        reply = await self.scripts.call(
            "attempt_failed",
            *ticket.key,
            error.model_dump_json(),
            int(created_nothing),
            max_attempts,
            "" if polls is None else polls,
        )
        return Moved(reply)

    async def time_out(self, ticket: Ticket, error: JobError) -> Moved:
        """Fail a job whose generation takes too long; its attempt goes on."""
        return Moved(await self.scripts.call("time_out", *ticket.key, error.model_dump_json()))
