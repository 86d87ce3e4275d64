"""Complete listings of what exists upstream and belongs to no attempt.

Only a listing that was read to its end, every page whole, proves that something is not there.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from darkroom.store.owners import owners_of
from darkroom.upstream.errors import UpstreamUnavailableError
from darkroom.upstream.outcomes import ListPage, Prediction
from worker.context import Context
from worker.stages.reconcile.open_sends import wanted_name

PAD_MS = 5 * 60_000
"""How far around the time in question is listed: upstream's clock is not ours."""

MOST_PAGES = 2_000
OFFSET_CHANGED_MS = 30_000
Window = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Orphan:
    """A prediction that no attempt owns.

    `wanted` names what it was asked for (None: upstream does not say it all); `created_ms` is in our server's time, to
    about a second where upstream tells its clock (None: unreadable).
    """

    prediction_id: str
    wanted: str | None
    created_ms: int | None


@dataclass(frozen=True, slots=True)
class Listing:
    """One complete listing: its own mark, when it began, what nobody owns, and whether upstream told its time."""

    mark: str
    began_ms: int
    orphans: tuple[Orphan, ...]
    clock_known: bool


class Lister:
    """Lists one account and remembers how far its clock is from ours."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._offset_ms: int | None = None

    async def list_orphans(self, windows: Sequence[Window], *, interesting: Callable[[Orphan], bool]) -> Listing:
        """List the windows (server time, ms) padded both ways; keeps what is `interesting` and has no owner.

        Raises:
            UpstreamUnavailableError: not every page could be read; retryable, and proves nothing.
            UnauthorizedError: the key is not accepted.
        """
        began_ms, mark, used_ms = self._ctx.clock.now_ms(), secrets.token_hex(8), self._offset_ms or 0
        orphans: dict[str, Orphan] = {}
        for window in merged(windows):
            async for page in self._pages(window):
                if abs((self._offset_ms or 0) - used_ms) > OFFSET_CHANGED_MS:
                    return await self.list_orphans(windows, interesting=interesting)
                for orphan in await self._unowned(page.items, interesting):
                    orphans[orphan.prediction_id] = orphan
        return Listing(mark, began_ms, tuple(orphans.values()), self._offset_ms is not None)

    async def _pages(self, window: Window) -> AsyncIterator[ListPage]:
        after, before = (self._upstream_time(moment) for moment in window)
        for number in range(1, MOST_PAGES + 1):
            page = await self._ctx.upstream.list_predictions(page=number, created_after=after, created_before=before)
            if not page.complete:
                raise UpstreamUnavailableError("a page of the listing could not be read whole")
            self._learn_offset(page)
            yield page
            if page.is_last:
                return
        raise UpstreamUnavailableError(f"the listing has more than {MOST_PAGES} pages")

    def _upstream_time(self, moment_ms: int) -> datetime:
        return datetime.fromtimestamp((moment_ms + (self._offset_ms or 0)) / 1000, UTC)

    def _learn_offset(self, page: ListPage) -> None:
        if page.server_date is not None:
            self._offset_ms = int(page.server_date.timestamp() * 1000) - self._ctx.clock.now_ms()

    async def _unowned(self, predictions: Iterable[Prediction], interesting: Callable[[Orphan], bool]) -> list[Orphan]:
        found = [orphan for item in predictions if interesting(orphan := self._orphan(item))]
        owners = await owners_of(self._ctx.redis, [orphan.prediction_id for orphan in found])
        return [orphan for orphan in found if orphan.prediction_id not in owners]

    def _orphan(self, prediction: Prediction) -> Orphan:
        return Orphan(prediction.id, _asked(prediction), _created_ms(prediction, self._offset_ms or 0))


def merged(windows: Iterable[Window]) -> list[Window]:
    """Pad windows and join those that overlap, so that nothing is listed twice."""
    joined: list[Window] = []
    for start, end in sorted((start - PAD_MS, end + PAD_MS) for start, end in windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _asked(prediction: Prediction) -> str | None:
    asked = prediction.input
    if asked is None or asked.size is None or asked.max_images is None:
        return None
    return wanted_name(asked.prompt, asked.size, asked.max_images)


def _created_ms(prediction: Prediction, offset_ms: int) -> int | None:
    try:
        moment = datetime.fromisoformat(prediction.created_at or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000) - offset_ms
