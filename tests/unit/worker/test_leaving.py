"""Leaving ends, whatever hangs."""

import asyncio
import subprocess
import sys

from worker.bootstep import _at_most
from worker.reactor import Reactor

STUCK = """
import threading
from worker import bootstep
bootstep.END_S = 0.1
bootstep._end_in_time()
threading.Event().wait()
"""


def test_a_process_that_is_stuck_after_its_stop_signal_ends_itself() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], timeout=60, check=False)
    assert ended.returncode == 1


async def test_what_does_not_end_in_time_is_left() -> None:
    async with asyncio.timeout(20):
        await _at_most(0.01, asyncio.Event().wait(), "a stuck part")  # type: ignore[arg-type]


def test_work_cut_off_at_the_end_is_counted_and_over() -> None:
    reactor = Reactor()
    reactor.start()
    ended: list[bool] = []

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    assert reactor.hand_over(stuck, hold_s=0) is False
    assert reactor.call(reactor.drain(0.01), timeout_s=20) == 1
    assert ended == [True]
    reactor.stop()
