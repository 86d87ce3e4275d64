"""Starting and ending child processes so that none outlives its parent.

Every child gets a session of its own, so a terminal's Ctrl-C reaches only the parent, which ends its children in order.
On Linux the kernel kills a child whose parent died, however it died.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

START_TIMEOUT_S = 60.0
_PORT_TRIES = 3
_PR_SET_PDEATHSIG = 1

T = TypeVar("T")


class EmbeddedServerError(RuntimeError):
    """A process of the embedded stack is missing, would not start, or died; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: its short name in the output, the arguments, and what is added to the environment."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def die_with_parent() -> Callable[[], None] | None:
    """Return what a child runs before exec to be killed with its parent; `None` where the system has no such thing.

    The signal is sent when the thread that forked ends, so children are started from the main thread.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died between fork and here
            os._exit(1)

    return arm


def child_environment(command: Command) -> dict[str, str]:
    """Return this process's environment with the command's own on top."""
    return {**os.environ, **command.env}


def spawn(command: Command, *, log_path: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output appended to `log_path`."""
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command.argv,
            env=child_environment(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )


def launch(command: Command, *, ready: Callable[[], bool], log_path: Path) -> subprocess.Popen[bytes]:
    """Start a command and wait until `ready` says so.

    Raises:
        EmbeddedServerError: it ended, or was not ready in a minute (it is killed then); the text has its last output.
    """
    process = spawn(command, log_path=log_path)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            kill(process)
            raise EmbeddedServerError(f"{command.name} did not come up:\n{tail(log_path)}")
        time.sleep(0.02)
    return process


def on_a_port(start: Callable[[int], T], *, port: int = 0) -> T:
    """Call `start` with `port`, or for 0 with a free one, which somebody else may take first: so a few times.

    Raises:
        EmbeddedServerError: what the last `start` raised.
    """
    for _ in range(0 if port else _PORT_TRIES - 1):
        with suppress(EmbeddedServerError):
            return start(free_port())
    return start(port or free_port())


def stop(process: subprocess.Popen[bytes], *, grace_s: float = 10.0) -> None:
    """End a process by SIGTERM, by SIGKILL to its whole group after `grace_s`; nothing to do if it has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group by SIGKILL and collect it; nothing to do if it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on right now; another process may still take it first."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether one could listen on the port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def tail(log_path: Path, *, lines: int = 5) -> str:
    """Return the last lines of a log, for an error's text."""
    if not log_path.exists():
        return "(no output)"
    return "\n".join(log_path.read_text(errors="replace").splitlines()[-lines:]) or "(no output)"
