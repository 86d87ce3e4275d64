"""Webhook receivers in a process of their own: as many as wanted, each on its own port and with its own behaviour.

`python -m bench.receivers good hangs …` says on its first line which ports they have, answers each command on stdin
(`count`, `arrivals`) with one line of JSON, and ends with its stdin. What a receiver reads of a request is what the
service's HTTP client writes: a head and a body of the length that the head gives.
"""

import asyncio
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

import orjson
import psutil

from bench.figures import BenchError
from bench.machine import ROOT
from bench.processes import clean_environment, used_cpu_s
from deploy.embedded.processes import die_with_parent, stop

NO_ANSWER = 0
FIRST_FAILURES_PERCENT = 20
SLOW_ANSWER_S = 0.3
BACKLOG = 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, no time: closing sends RST


class Behaviour(StrEnum):
    """What a receiver does with each request, after reading it whole."""

    GOOD = "good"
    """Answers 204."""
    HANGS = "hangs"
    """Never answers and keeps the connection."""
    FAILS = "fails"
    """Answers 500."""
    RESETS = "resets"
    """Resets the connection."""
    FAILS_FIRST = "slow, fails at first"
    """Takes a third of a second, and answers 500 to the first attempt at a fifth of the events, 204 to all others."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One attempt that reached a receiver. Unix seconds, `event_at` by Redis' clock and in whole milliseconds."""

    receiver: int
    at: float
    event_id: str
    job_id: str
    event_at: float
    answered: int


@dataclass(slots=True)
class _Kept:
    """One request as it arrived; it is parsed when it is asked for, not while others arrive."""

    at: float
    event_id: str
    body: bytes
    answered: int


class _Receiver:
    """One receiver's behaviour and what has reached it."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.kept: list[_Kept] = []
        self._behaviour = behaviour
        self._known: set[str] = set()

    def take(self, event_id: str, body: bytes, at: float) -> int:
        """Keep a request and give the status to answer it with, or `NO_ANSWER`."""
        answered = self._answer(event_id)
        self.kept.append(_Kept(at, event_id, body, answered))
        return answered

    def _answer(self, event_id: str) -> int:
        first = event_id not in self._known
        self._known.add(event_id)
        match self._behaviour:
            case Behaviour.GOOD:
                return 204
            case Behaviour.FAILS:
                return 500
            case Behaviour.FAILS_FIRST:
                return 500 if first and zlib.crc32(event_id.encode()) % 100 < FIRST_FAILURES_PERCENT else 204
            case Behaviour.HANGS | Behaviour.RESETS:
                return NO_ANSWER

    @property
    def delay_s(self) -> float:
        """How long an answer takes."""
        return SLOW_ANSWER_S if self._behaviour is Behaviour.FAILS_FIRST else 0.0

    @property
    def resets(self) -> bool:
        """Whether a connection ends with its first request."""
        return self._behaviour is Behaviour.RESETS


class _Connection(asyncio.Protocol):
    """One connection to a receiver; requests on it come one after another."""

    def __init__(self, receiver: _Receiver) -> None:
        self._receiver = receiver
        self._read = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is answered on."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take every request that is complete; its time is that of its last byte."""
        at = time.time()
        self._read += data
        while request := _take_request(self._read):
            self._answer(self._receiver.take(*request, at))

    def _answer(self, status: int) -> None:
        if status != NO_ANSWER:
            answer = b"HTTP/1.1 %d Bench\r\nContent-Length: 0\r\n\r\n" % status
            if delay_s := self._receiver.delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._write, answer)
            else:
                self._write(answer)
        elif self._receiver.resets:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():  # its sender may have been killed
            self._transport.write(answer)


def _take_request(read: bytearray) -> tuple[str, bytes] | None:
    """Take the first whole request off what was read: its `webhook-id` and its body."""
    head, end, _ = bytes(read).partition(b"\r\n\r\n")
    if not end:
        return None
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    headers = {name.lower(): value.strip() for name, _, value in lines}
    length = len(head) + len(end) + int(headers[b"content-length"])
    if len(read) < length:
        return None
    body = bytes(read[len(head) + len(end) : length])
    del read[:length]
    return headers[b"webhook-id"].decode(), body


async def serve(behaviours: list[Behaviour]) -> None:
    """Receive, say where, and answer commands until stdin ends."""
    loop = asyncio.get_running_loop()
    receivers = [_Receiver(behaviour) for behaviour in behaviours]
    servers = [
        await loop.create_server(lambda receiver=receiver: _Connection(receiver), "127.0.0.1", 0, backlog=BACKLOG)  # type: ignore[misc]
        for receiver in receivers
    ]
    _say([server.sockets[0].getsockname()[1] for server in servers])
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while command := (await commands.readline()).decode().strip():
        if command == "count":
            _say([len(receiver.kept) for receiver in receivers])
        elif command == "arrivals":
            _say([_told(number, kept) for number, receiver in enumerate(receivers) for kept in receiver.kept])
        else:
            raise ValueError(f"{command!r}: there are `count` and `arrivals`")


def _told(number: int, kept: _Kept) -> list[Any]:
    event = orjson.loads(kept.body)
    return [number, kept.at, kept.event_id, event["data"]["id"], event["timestamp"], kept.answered]


def _say(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
    sys.stdout.buffer.flush()


class Receivers:
    """The running process, asked from the benchmark's."""

    def __init__(self, behaviours: list[Behaviour]) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "bench.receivers", *behaviours],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        self.urls = tuple(f"http://127.0.0.1:{port}/hook" for port in self._heard())
        self._psutil = psutil.Process(self._popen.pid)

    def counts(self) -> list[int]:
        """Say how many attempts have reached each receiver."""
        return [int(count) for count in self._ask(b"count\n")]

    def arrivals(self) -> list[Arrival]:
        """Give every attempt that has reached any of them, in the order of its arrival."""
        told = [
            Arrival(number, at, event_id, job_id, datetime.fromisoformat(event_at).timestamp(), answered)
            for number, at, event_id, job_id, event_at, answered in self._ask(b"arrivals\n")
        ]
        return sorted(told, key=lambda arrival: arrival.at)

    def cpu_s(self) -> float:
        """CPU seconds the process has used so far, user and system."""
        return used_cpu_s(self._psutil)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
        stop(self._popen)

    def _ask(self, command: bytes) -> list[Any]:
        if self._popen.stdin is None:
            raise AssertionError("started with a pipe")
        self._popen.stdin.write(command)
        self._popen.stdin.flush()
        return self._heard()

    def _heard(self) -> list[Any]:
        if self._popen.stdout is None:
            raise AssertionError("started with a pipe")
        line = self._popen.stdout.readline()
        if not line:
            raise BenchError(f"the receivers ended with {self._popen.wait()}")
        heard: list[Any] = orjson.loads(line)
        return heard


@contextmanager
def running_receivers(*behaviours: Behaviour) -> Iterator[Receivers]:
    """Receive until the end of the block; each behaviour has a port, and so a host for the service, of its own."""
    receivers = Receivers(list(behaviours))
    try:
        yield receivers
    finally:
        receivers.close()


if __name__ == "__main__":
    asyncio.run(serve([Behaviour(name) for name in sys.argv[1:]]))
