"""`python -m bench.receivers FILE KIND…`: webhook receivers in a process of their own, one port each.

Prints the ports as JSON once all listen, and writes a JSON line to FILE for every POST that arrived. Kinds: `good`
answers 204, `error` 500, `reset` resets the connection once the request is there, `hang` never answers.
"""

import asyncio
import json
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

import orjson

from bench.machine import ROOT
from deploy.embedded.processes import die_with_parent, stop

KINDS = ("good", "error", "reset", "hang")
_ANSWERS = {
    "good": b"HTTP/1.1 204 No Content\r\n\r\n",
    "error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
}


class Receivers:
    """What listens, as the benchmark sees it: URLs in the order of the kinds, and what arrived so far."""

    def __init__(self, kinds: list[str], ports: list[int], path: Path) -> None:
        self.kinds = kinds
        self.urls = [f"http://127.0.0.1:{port}/hook" for port in ports]
        self._path = path

    def arrivals(self) -> list[dict[str, object]]:
        """Give every POST that arrived: `receiver` (its place), `id`, `told_at` (its event's time), `at` (Unix s)."""
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        return [orjson.loads(line) for line in lines]


@contextmanager
def running_receivers(folder: Path, kinds: list[str]) -> Iterator[Receivers]:
    """Run receivers of these kinds until the end of the block."""
    path = folder / "arrivals.jsonl"
    command = [sys.executable, "-m", "bench.receivers", str(path), *kinds]
    process = Popen(command, cwd=ROOT, stdin=DEVNULL, stdout=PIPE, preexec_fn=die_with_parent())
    try:
        if process.stdout is None:
            raise AssertionError("its output is piped")
        yield Receivers(kinds, json.loads(process.stdout.readline()), path)
    finally:
        stop(process, grace_s=5)


async def _serve(kind: str, place: int, out: IO[bytes]) -> asyncio.Server:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                at = time.time()
                body = await reader.readexactly(_length(head))
                out.write(orjson.dumps(_row(place, head, body, at)) + b"\n")
                out.flush()
                if kind == "hang":
                    await reader.read()  # until the sender gives up
                    return
                if kind == "reset":
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                writer.write(_ANSWERS[kind])
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    return await asyncio.start_server(take, "127.0.0.1", 0, backlog=1024)


def _length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))


def _row(place: int, head: bytes, body: bytes, at: float) -> dict[str, object]:
    name = next(line[11:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"webhook-id:"))
    return {"receiver": place, "id": name.decode(), "told_at": orjson.loads(body)["timestamp"], "at": at}


async def _main(out: IO[bytes], kinds: list[str]) -> None:
    servers = [await _serve(kind, place, out) for place, kind in enumerate(kinds)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    with Path(sys.argv[1]).open("ab") as arrivals:
        asyncio.run(_main(arrivals, sys.argv[2:]))
