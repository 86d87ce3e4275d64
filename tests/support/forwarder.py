"""A TCP forwarder whose target a test can switch, as a Sentinel's or a provider's address does in a failover.

With a certificate it is the TLS front that stands before an ingress which the outside reaches by https.
"""

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import trustme

CHUNK_BYTES = 65_536


class Forwarder:
    """Listens on a port of its own in a thread; `switch` ends every connection and leads new ones elsewhere."""

    def __init__(self, target_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._target_port = target_port
        self._open: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forwarder", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def switch(self, target_port: int) -> None:
        """Lead to another port from now on."""
        self._target_port = target_port
        self._run(self._hang_up())

    def close(self) -> None:
        """End every connection and the thread."""
        self._server.close()
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _hang_up(self) -> None:
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        other: asyncio.StreamWriter | None = None
        try:
            far, other = await asyncio.open_connection("127.0.0.1", self._target_port)
            await asyncio.wait(
                [asyncio.create_task(_pump(reader, other)), asyncio.create_task(_pump(far, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            for end in (writer, other):
                if end is not None:
                    end.close()


def certificate_of_this_machine() -> ssl.SSLContext:
    """Make a certificate for 127.0.0.1 by an authority that nobody knows; upstream must be told not to ask whose."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
