"""A server that does to each request exactly what a test says, on a real socket, and counts what really arrives."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from darkroom.upstream.client import UpstreamClient

ID = "e6832d4abffb4d79bfbca19783fca133"
KEY = "sk-only-for-tests"

Act = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request that arrived, and the way to answer it. An act that has not closed keeps the connection."""

    head: str
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def line(self) -> str:
        return self.head.partition("\r\n")[0]

    def header(self, name: str) -> str | None:
        found = [line.partition(":") for line in self.head.split("\r\n")[1:]]
        return next((value.strip() for key, _, value in found if key.lower() == name.lower()), None)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.write("\r\n".join([*lines, "", ""]).encode() + data)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        reset(self.writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class RawServer:
    """Answers the n-th request by the n-th act, then by the last one again."""

    acts: list[Act]
    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _is_stopping: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                exchange = Exchange(head.removesuffix("\r\n\r\n"), b"", reader, writer)
                exchange.body = await reader.readexactly(int(exchange.header("content-length") or 0))
                self.exchanges.append(exchange)
                await self.acts[min(len(self.exchanges), len(self.acts)) - 1](exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has hung up
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
        finally:
            writer.close()

    async def stop(self) -> None:
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def posts(self) -> int:
        return sum(exchange.line.startswith("POST ") for exchange in self.exchanges)


Serve = Callable[..., Awaitable[RawServer]]
Connect = Callable[..., Awaitable[UpstreamClient]]
