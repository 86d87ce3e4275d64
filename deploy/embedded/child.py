"""One supervised process: started, watched, started again when it dies, stopped within its grace."""

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.embedded.leash import Leash
from deploy.embedded.output import Lines, Output
from deploy.embedded.processes import Command, child_environment, die_with_parent

EXIT_CONFIGURATION = 2
"""What every command of Darkroom exits with when a setting is wrong: starting it again can't help."""

DEATHS_BEFORE_GIVING_UP = 5
_READY_PAUSE_S = 0.05
_LONG_LIFE_S = 5.0
_LONGEST_BACKOFF_S = 5.0

Ready = Callable[[float], Awaitable[bool]]
"""Says whether the process that was started at this Unix time does its work."""


@dataclass(frozen=True, slots=True)
class Service:
    """What to keep running. Services of one stage start and stop together; lower stages start first and stop last."""

    command: Command
    ready: Ready
    stage: int
    grace_s: float = 10.0
    log_path: Path | None = None
    """Where its output goes; `None` for the terminal."""

    @property
    def name(self) -> str:
        """The name in the output."""
        return self.command.name


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the children of one supervisor share."""

    output: Output
    leash: Leash
    inherited_fds: tuple[int, ...] = ()


class Child:
    """Keeps one service running until `stop`, or until it died too often without ever becoming ready."""

    def __init__(self, service: Service, surroundings: Surroundings) -> None:
        self.service = service
        self.ready = asyncio.Event()
        self.given_up = asyncio.Event()
        self._surroundings = surroundings
        self._stopping = asyncio.Event()
        self._kill_now = asyncio.Event()
        self._process: Process | None = None
        self._deaths = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep it running."""
        self._task = asyncio.create_task(self._keep_running())
        self._task.add_done_callback(self._notice_failure)

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL when its grace is over or `kill` is called. Returns when it is gone."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await _first_of(process.wait(), self._kill_now.wait(), timeout_s=self.service.grace_s)
            if process.returncode is None:
                if not self._kill_now.is_set():
                    self._say(f"did not stop within {self.service.grace_s:g} s and is killed")
                _kill_group(process.pid)
        if self._task is not None:
            await self._task

    def kill(self) -> None:
        """End it at once."""
        self._kill_now.set()
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            _kill_group(self._process.pid)

    async def _keep_running(self) -> None:
        while not self._stopping.is_set():
            born = time.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                return
            lived_s = time.monotonic() - born
            was_ready = self.ready.is_set()
            self.ready.clear()
            self._deaths = 1 if was_ready and lived_s > _LONG_LIFE_S else self._deaths + 1
            if not was_ready and (code == EXIT_CONFIGURATION or self._deaths >= DEATHS_BEFORE_GIVING_UP):
                self._say(f"{describe_exit(code)} before it was ready; giving up")
                self.given_up.set()
                return
            backoff_s = min(0.1 * 2**self._deaths, _LONGEST_BACKOFF_S)
            self._say(f"{describe_exit(code)}; starting it again in {backoff_s:.1f} s")
            await _first_of(self._stopping.wait(), timeout_s=backoff_s)

    async def _live(self) -> int:
        """Run the process once and return its exit code; afterwards nothing of its group is left."""
        lines = Lines(self.service.name, self._surroundings.output, log_path=self.service.log_path)
        started_at = time.time()
        process, stream = await self._spawn()
        self._process = process
        self._surroundings.leash.add(process.pid)
        if self._stopping.is_set():  # asked to stop while it was being started
            _kill_group(process.pid)
        pump = asyncio.create_task(_pump(stream, lines))
        watch = asyncio.create_task(self._watch_ready(started_at))
        watch.add_done_callback(self._notice_failure)
        code = await process.wait()
        watch.cancel()
        _kill_group(process.pid)
        await _first_of(pump, timeout_s=2.0)
        lines.close()
        self._surroundings.leash.remove(process.pid)
        if not self._stopping.is_set():
            for text in lines.last:
                self._surroundings.output.line(self.service.name, text)
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        return code

    async def _spawn(self) -> tuple[Process, int]:
        """Start the process; returns it with the reading end of its output.

        The pipe is not asyncio's own: with that one `wait` goes on as long as a grandchild holds the other end.
        """
        command = self.service.command
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=child_environment(command),
                stdin=DEVNULL,
                stdout=writing,
                stderr=STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
                pass_fds=self._surroundings.inherited_fds,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return process, reading

    async def _watch_ready(self, started_at: float) -> None:
        while not await self.service.ready(started_at):  # noqa: ASYNC110 - another process can't set an event
            await asyncio.sleep(_READY_PAUSE_S)
        self.ready.set()

    def _notice_failure(self, task: asyncio.Task[None]) -> None:
        """Have the supervisor stop; `stop` raises what went wrong."""
        if not task.cancelled() and task.exception() is not None:
            self.given_up.set()

    def _say(self, text: str) -> None:
        self._surroundings.output.line("stack", f"{self.service.name} {text}")


def describe_exit(code: int) -> str:
    """Return how a process ended, in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


async def _pump(stream: int, lines: Lines) -> None:
    """Read a pipe to its end and close it."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(stream, "rb", buffering=0)
    )
    try:
        while data := await reader.read(65_536):
            lines.feed(data)
    finally:
        transport.close()


async def _first_of(*waits: "Coroutine[Any, Any, Any] | asyncio.Task[Any]", timeout_s: float) -> None:
    """Wait until one of them is done or the time is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    _, pending = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(group, signal.SIGKILL)
