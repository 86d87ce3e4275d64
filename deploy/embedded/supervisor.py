"""Keeps several processes running together: started in order, watched, restarted, all stopped with none left behind."""

import asyncio
import itertools
import signal
from collections.abc import Callable, Iterable, Sequence

from deploy.embedded.child import Child, Service, Surroundings
from deploy.embedded.leash import Leash
from deploy.embedded.output import Output

_REMINDER_S = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Runs services until a signal says stop, or one of them can't be kept alive.

    The first SIGINT, SIGTERM or SIGHUP stops everything gracefully in reverse order, a second one at once.
    """

    def __init__(self, services: Iterable[Service], *, output: Output, inherited_fds: tuple[int, ...] = ()) -> None:
        self._services = sorted(services, key=lambda service: service.stage)
        self._output = output
        self._inherited_fds = inherited_fds
        self._children: list[Child] = []
        self._stop = asyncio.Event()

    async def run(self, *, started: Callable[[], None]) -> int:
        """Run everything, call `started` once all are ready, and return the exit code: 1 if a service was given up."""
        loop = asyncio.get_running_loop()
        leash = Leash()
        surroundings = Surroundings(self._output, leash, self._inherited_fds)
        self._children = [Child(service, surroundings) for service in self._services]
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        try:
            if await self._start_all():
                started()
            await self._first(self._ends(), timeout_s=None)
        finally:
            try:
                await self._stop_all()
            finally:
                leash.close()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        return 1 if any(child.given_up.is_set() for child in self._children) else 0

    def _on_signal(self) -> None:
        if not self._stop.is_set():
            self._output.say("\nStopping; once more to stop at once.")
            self._stop.set()
            return
        for child in self._children:
            child.kill()

    async def _start_all(self) -> bool:
        """Start stage after stage; return whether all became ready."""
        for stage in _stages(self._children):
            for child in stage:
                child.start()
            while not all(child.ready.is_set() for child in stage):
                waiting = [child for child in stage if not child.ready.is_set()]
                await self._first([*(child.ready for child in waiting), *self._ends()], timeout_s=_REMINDER_S)
                if any(event.is_set() for event in self._ends()):
                    return False
                if all(not child.ready.is_set() for child in waiting):
                    names = ", ".join(child.service.name for child in waiting)
                    self._output.line("stack", f"still waiting for {names}")
        return True

    async def _stop_all(self) -> None:
        for stage in reversed(list(_stages(self._children))):
            await asyncio.gather(*(child.stop() for child in stage))

    def _ends(self) -> list[asyncio.Event]:
        return [self._stop, *(child.given_up for child in self._children)]

    @staticmethod
    async def _first(events: Sequence[asyncio.Event], *, timeout_s: float | None) -> None:
        waits = [asyncio.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


def _stages(children: Sequence[Child]) -> Iterable[list[Child]]:
    for _, stage in itertools.groupby(children, key=lambda child: child.service.stage):
        yield list(stage)
