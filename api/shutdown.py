"""Lets long answers go as soon as the process is told to stop: a server waits for open answers before it goes down."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop_signal(let_go: Callable[[], None]) -> Iterator[None]:
    """Call `let_go` on the running loop when a stop signal comes, before the handler that was there."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; a server in another thread is stopped by its owner
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(let_go)
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)

    ours = [number for number in _SIGNALS if callable(before[number])]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
