"""The due set: every timer there is, in one sorted set, judged by the server's clock.

Leasing an entry puts it off by the time that handling it may take, so a crash costs only that long.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from darkroom.store.attempts import Callback, Ticket
from darkroom.store.scripts import Scripts

RESCHEDULE_CHUNK = 100

PATIENCE_MS = 86_400_000
"""How long a delivery waits for a failing host where its schedule is not known."""


@dataclass(frozen=True, slots=True)
class DueAttempt:
    """An attempt whose timer went off, with all that handling it needs. Times in ms, server time.

    `asked`: a retry asks whether upstream still has what it had called failed or unknown. `missing_ms`: since when
    upstream answers that it does not know the prediction (None: it did when last asked). `key`: fingerprint of the key
    that it was sent with. `called_ms`: when upstream called back about it (None: it has not).
    """

    ticket: Ticket
    state: str
    prediction_id: str
    submitted_ms: int
    polls: int
    current: bool
    lane: str
    sent_ms: int
    clock_ms: int
    asked: bool = False
    missing_ms: int | None = None
    key: str = ""
    callback: Callback = ""
    called_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery whose next attempt is due."""

    delivery_id: str
    lease: str


@dataclass(slots=True)
class Due:
    """What one sweep leased, of so many that were `due`; `next_ms` is when the next entry is (None: there is none).

    `sweeps` are batches that are gone through, with the sweep's name; `manifests` batches whose end is to be written,
    `old` completed jobs that may be compacted.
    """

    now_ms: int
    next_ms: int | None
    line_depth: int
    due: int = 0
    attempts: list[DueAttempt] = field(default_factory=list)
    deliveries: list[DueDelivery] = field(default_factory=list)
    deadlines: list[str] = field(default_factory=list)
    lanes: list[str] = field(default_factory=list)
    sweeps: list[tuple[str, str]] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    old: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Look:
    """A look that found nothing new: how often it was looked at now, and when to look again.

    `missing`: whether upstream did not know it; None leaves that as it was.
    """

    ticket: Ticket
    polls: int
    delay_ms: int
    missing: bool | None = None


class Timers:
    """Leases, puts off and renews entries of the due set."""

    def __init__(self, redis: Redis) -> None:
        self.scripts = Scripts.shared(redis)

    async def lease_due(
        self,
        *,
        most: int,
        look_ms: int,
        message_ms: int,
        check_ms: int,
        patience_ms: int = PATIENCE_MS,
        compact_ms: int = 0,
    ) -> Due:
        """Take what is due: looks for `look_ms`, what becomes a Celery message for `check_ms`.

        A message that was not begun by then is sent again, but for `message_ms` it may wait while others that were sent
        before it are being begun. A delivery waits `patience_ms` for a host that fails.
        Jobs completed `compact_ms` ago may be compacted (0: none).
        """
        reply = await self.scripts.call("lease_due", most, look_ms, message_ms, check_ms, patience_ms, compact_ms)
        next_ms = int(reply[1])
        due = Due(int(reply[0]), next_ms if next_ms >= 0 else None, int(reply[2]), int(reply[3]))
        for entry in reply[4:]:
            _sort_in(due, entry)
        return due

    async def reschedule(self, looks: list[Look]) -> None:
        """Put many looks off at once."""
        chunks = [looks[i : i + RESCHEDULE_CHUNK] for i in range(0, len(looks), RESCHEDULE_CHUNK)]
        await self.scripts.call_all([("reschedule", tuple(_look_args(chunk))) for chunk in chunks])

    async def renew(self, held: dict[str, int], *, lease_ms: int) -> list[str]:
        """Renew leases (member of the due set to lease number); gives the members that are lost."""
        if not held:
            return []
        flat = [part for member, lease in held.items() for part in (member, lease)]
        lost: list[str] = await self.scripts.call("renew", lease_ms, *flat)
        return lost

    async def expire(self, job_ids: Iterable[str]) -> None:
        """End the jobs among these whose time in the line is over."""
        await self.scripts.call_all([("expire", (job_id,)) for job_id in job_ids])


def _look_args(looks: Iterable[Look]) -> Iterable[str | int]:
    for look in looks:
        missing = "" if look.missing is None else int(look.missing)
        yield from (*look.ticket.key, look.polls, look.delay_ms, missing)


def _sort_in(due: Due, entry: list[Any]) -> None:
    match entry[0]:
        case "j":
            ticket = Ticket(entry[1], int(entry[2]), int(entry[4]))
            due.attempts.append(
                DueAttempt(
                    ticket=ticket,
                    state=entry[3],
                    prediction_id=entry[5],
                    submitted_ms=int(entry[6]),
                    polls=int(entry[7]),
                    current=entry[8] == "1",
                    lane=entry[9],
                    sent_ms=int(entry[10]),
                    clock_ms=int(entry[11]),
                    asked=entry[12] == "1",
                    missing_ms=int(entry[13]) if entry[13] else None,
                    key=entry[14],
                    callback=entry[15],
                    called_ms=int(entry[16]) if entry[16] else None,
                )
            )
        case "d":
            due.deliveries.append(DueDelivery(entry[1], entry[2]))
        case "x":
            due.deadlines.append(entry[1])
        case "l":
            due.lanes.append(entry[1])
        case "s":
            due.sweeps.append((entry[1], entry[2]))
        case "m":
            due.manifests.append(entry[1])
        case "c":
            due.old += entry[1:]
        case _:
            due.unknown.append(str(entry))
