"""What is seen while a job or a batch is followed: live on a terminal, a line now and then anywhere else.

All of it goes to stderr; stdout is for results.
"""

import time
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.spinner import Spinner
from rich.text import Text

from darkroom.cli.show import STYLES, counted, duration, plural, size, usd

if TYPE_CHECKING:
    from types import TracebackType

    from darkroom.batches import Batch
    from darkroom.cli.downloads import Downloads

LINE_EVERY_S = 10.0
RATE_OVER_S = 60.0


def console() -> Console:
    """Give the console of stderr."""
    return Console(stderr=True, highlight=False)


class Rate:
    """How many a minute something grew over the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, count: int, now_s: float) -> None:
        """Take what is counted now."""
        self._seen.append((now_s, count))
        while now_s - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()

    @property
    def per_minute(self) -> float | None:
        """The rate; None before there is one."""
        if not self._seen or (span_s := self._seen[-1][0] - self._seen[0][0]) <= 0:
            return None
        return (self._seen[-1][1] - self._seen[0][1]) * 60 / span_s


def seconds_left(batch: "Batch", images_per_minute: float | None) -> float | None:
    """Estimate when a batch is over: as the service says, else at the present rate; None where neither tells."""
    if batch.estimated_seconds_left is not None:
        return batch.estimated_seconds_left
    if not images_per_minute:
        return None
    waiting = 1 - batch.counts.finished / batch.total
    return batch.cost.images_requested * waiting * 60 / images_per_minute


def batch_words(batch: "Batch", images_per_minute: float | None) -> str:
    """Say how a batch is getting on."""
    others = {name: count for name, count in batch.counts.model_dump().items() if name not in ("completed", "queued")}
    words = [f"{batch.counts.finished:,} of {plural(batch.total, 'job')}"]
    if any(others.values()):
        words.append(counted(others))
    if images_per_minute:
        words.append(f"{images_per_minute:,.0f} images/min")
    words.append(f"{batch.cost.spent:,.2f} of {usd(batch.cost.estimated)}")
    left_s = seconds_left(batch, images_per_minute)
    if batch.held:
        words.append("held: the day's budget is spent")
    elif left_s is not None and batch.finished_at is None:
        words.append(f"{duration(left_s)} left")
    return " · ".join(words)


class BatchScreen:
    """Shows a batch, and what of it is fetched; open it for the time of a block."""

    def __init__(self, downloads: "Downloads | None" = None) -> None:
        self._console = console()
        self._downloads = downloads
        self._rate = Rate()
        self._said_at_s = float("-inf")
        self._said = ""
        self._progress = Progress(
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("")

    def __enter__(self) -> "BatchScreen":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self._progress.stop()

    def show(self, batch: "Batch") -> None:
        """Show where it is."""
        now_s = time.monotonic()
        self._rate.note(batch.cost.images_delivered, now_s)
        words = batch_words(batch, self._rate.per_minute)
        if self._downloads is not None:
            words += f" · {plural(self._downloads.images, 'image')} here ({size(self._downloads.size_bytes)})"
        self._progress.update(self._task, completed=batch.counts.finished, total=batch.total, description=words)
        if not self._console.is_terminal and words != self._said and now_s - self._said_at_s >= LINE_EVERY_S:
            self._console.print(words, soft_wrap=True)
            self._said, self._said_at_s = words, now_s


class JobScreen:
    """Shows a job's status and how long it has been followed; open it for the time of a block."""

    def __init__(self, job_id: str) -> None:
        self._console = console()
        self._job_id = job_id
        self._status = "queued"
        self._began_s = time.monotonic()
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._now, console=self._console, transient=True, auto_refresh=self._console.is_terminal
        )

    def __enter__(self) -> "JobScreen":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self._live.stop()

    def show(self, status: str) -> None:
        """Show a status that it has now."""
        self._status = status
        self._console.print(f"{self._job_id} [{STYLES.get(status, 'default')}]{status}[/]", soft_wrap=True)

    def _now(self) -> Spinner:
        text = Text.assemble(
            (self._status, STYLES.get(self._status, "default")), f" · {duration(time.monotonic() - self._began_s)}"
        )
        self._spinner.update(text=text)
        return self._spinner
