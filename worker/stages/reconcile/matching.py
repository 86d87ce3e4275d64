"""What a listing means for the sends that were lost; pure.

Requests that ask for the same are interchangeable, so their lost sends may share out the orphans in any order. What
does not say what it was asked for is nobody's, unless it can only be one send's.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from worker.stages.reconcile.listing import PAD_MS, Orphan
from worker.stages.reconcile.open_sends import OpenSend

SLACK_MS = 30_000
"""How far a prediction's time may be off where upstream's clock is known."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """It was asked for the same and nobody else can claim it."""

    orphan: Orphan


@dataclass(frozen=True, slots=True)
class Contested:
    """There are candidates, but an equal request is just being sent and may be told that they are its own."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing there can be this send's."""


@dataclass(frozen=True, slots=True)
class Nameless:
    """Something is there that does not say what it was asked for; `only` when it can be nobody else's."""

    orphans: tuple[Orphan, ...]
    only: bool


Finding = Adopt | Contested | Absent | Nameless


@dataclass(slots=True)
class _Board:
    """What is there, by what it was asked for."""

    named: dict[str, list[Orphan]] = field(default_factory=lambda: defaultdict(list))
    nameless: list[Orphan] = field(default_factory=list)

    @classmethod
    def of(cls, orphans: Iterable[Orphan]) -> "_Board":
        board = cls()
        for orphan in sorted(orphans, key=lambda item: item.created_ms or 0):
            (board.nameless if orphan.wanted is None else board.named[orphan.wanted]).append(orphan)
        return board


def match(sends: Sequence[OpenSend], orphans: Iterable[Orphan], *, clock_known: bool) -> list[tuple[OpenSend, Finding]]:
    """Say for each lost send what was found of it; `sends` are all open ones of the lane."""
    board, slack_ms = _Board.of(orphans), SLACK_MS if clock_known else PAD_MS
    being_sent: dict[str, list[OpenSend]] = defaultdict(list)
    for send in sends:
        if send.state == "submitting":
            being_sent[send.wanted].append(send)
    lost = sorted((send for send in sends if send.lost), key=lambda send: send.sent_ms)
    return [(send, _find(send, sends, board, being_sent[send.wanted], slack_ms)) for send in lost]


def _find(
    send: OpenSend, sends: Sequence[OpenSend], board: _Board, rivals: Sequence[OpenSend], slack_ms: int
) -> Finding:
    candidates = [orphan for orphan in board.named[send.wanted] if in_time(orphan, send)]
    for orphan in candidates:
        if not any(_may_be(orphan, rival, slack_ms) for rival in rivals):
            board.named[send.wanted].remove(orphan)
            return Adopt(orphan)
    if candidates:
        return Contested()
    nameless = tuple(orphan for orphan in board.nameless if in_time(orphan, send))
    if not nameless:
        return Absent()
    alone = not any(_overlap(send, other, slack_ms) for other in sends if other.ticket != send.ticket)
    return Nameless(nameless, only=len(nameless) == 1 and alone)


def in_time(orphan: Orphan, send: OpenSend) -> bool:
    """Say whether a send may have created this, by its time; what has no readable time may be anybody's."""
    if orphan.created_ms is None:
        return True
    return send.sent_ms - PAD_MS <= orphan.created_ms <= _end_ms(send) + PAD_MS


def _may_be(orphan: Orphan, rival: OpenSend, slack_ms: int) -> bool:
    return orphan.created_ms is None or orphan.created_ms >= rival.sent_ms - slack_ms


def _overlap(one: OpenSend, other: OpenSend, slack_ms: int) -> bool:
    return one.sent_ms - slack_ms <= _end_ms(other) and other.sent_ms - slack_ms <= _end_ms(one)


def _end_ms(send: OpenSend) -> int:
    """Give until when it may have created something; one under way still may."""
    return send.unknown_ms if send.unknown_ms is not None else 1 << 62
