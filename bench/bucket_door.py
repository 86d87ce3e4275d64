"""The door to the bucket that signed addresses lead to: it lets everything through and notes which outputs are fetched.

It stands between clients and the S3 server alone; workers store through none. The host that a request names is left as
it is, so that signatures hold. It understands requests as far as this takes: one after another on a connection, their
bodies with a Content-Length.
"""

import asyncio
import re
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

_OUTPUT = re.compile(rb"GET \S*/(job_\w+)/(\d\d\.\w+)[? ]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNK_BYTES = 65_536
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """One GET of an output: `image` is `job_…/00.png`, `at` Unix seconds."""

    image: str
    at: float


class BucketDoor:
    """Listens in a thread of its own on `port`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._fetches: list[Fetch] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bucket door", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def fetches(self) -> list[Fetch]:
        """Give what has been fetched so far, in its order."""
        return list(self._fetches)

    def wait_until_left(self) -> None:
        """Wait until every connection that was made before has ended, so that what came over it is noted.

        Only where those who made them are gone.
        """
        self._run(self._left())

    def close(self) -> None:
        """End every connection and the thread."""
        self._server.close()
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_TIMEOUT_S)

    async def _left(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write_eof()
        await reader.read()  # connections are taken in their order, so that all before this one have been
        writer.close()
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _hang_up(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            far, near = await asyncio.open_connection("127.0.0.1", self._target_port)
            ends.append(near)
            back = asyncio.create_task(_pump(far, writer))
            there = asyncio.create_task(self._requests(reader, near))
            _, left = await asyncio.wait({back, there}, return_when=asyncio.FIRST_COMPLETED)
            for other in left:
                other.cancel()
            await asyncio.gather(back, there, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.close()

    async def _requests(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if found := _OUTPUT.match(head):
                    self._fetches.append(Fetch(f"{found[1].decode()}/{found[2].decode()}", time.time()))
                length = _LENGTH.search(head)
                near.write(head + await reader.readexactly(int(length[1]) if length else 0))
                await near.drain()


@contextmanager
def bucket_door(target_port: int) -> Iterator[BucketDoor]:
    """Stand before a server on this machine for the time of a block."""
    door = BucketDoor(target_port)
    try:
        yield door
    finally:
        door.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
