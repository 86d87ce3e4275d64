"""What the attempts could reach: listeners that count whoever connects, and a name server that says what it likes."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

from bench.guard.namespace import has_ipv6

_TYPE_OF = {4: 1, 6: 28}
_NO_SUCH_NAME = 3


@dataclass(slots=True)
class Listeners:
    """TCP listeners on every address of this machine; `connections` counts by port.

    `everywhere` holds the wildcard addresses, and where each is reached for certain.
    """

    ports: tuple[int, ...]
    everywhere: dict[str, str]
    connections: Counter[int] = field(default_factory=Counter)

    async def arrived(self) -> int:
        """Give how many connections came, at all ports, since the last call.

        Each listener is connected to once more for it: queues are in order, so by then all before have been counted.
        """
        bells = [(port, address) for port in self.ports for address in self.everywhere.values()]
        for port, address in bells:
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await reader.read()
            writer.close()
        total = self.connections.total() - len(bells)
        self.connections.clear()
        return total


@asynccontextmanager
async def listening(ports: Iterable[int]) -> AsyncIterator[Listeners]:
    """Listen everywhere; answers 204, and to `/to/URL` with a redirect to the URL."""
    everywhere = {"0.0.0.0": "127.0.0.1"} | ({"::": "::1"} if has_ipv6() else {})
    listeners = Listeners(tuple(ports), everywhere)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listeners.connections[writer.get_extra_info("sockname")[1]] += 1
        _, _, path = (await reader.readline()).decode(errors="replace").partition(" ")
        target = path.partition(" ")[0].removeprefix("/to/")
        status = f"302 Found\r\nLocation: {target}" if path.startswith("/to/") else "204 No Content"
        writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    servers = [await asyncio.start_server(serve, address, port) for port in listeners.ports for address in everywhere]
    try:
        yield listeners
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


class Names:
    """The answers of a name server that changes its mind: each question of a name takes its next answer."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self._answers = {name: list(turns) for name, turns in answers.items()}

    def addresses(self, name: str) -> list[str] | None:
        """Give the next answer; the last one stays. None: no such name."""
        turns = self._answers.get(name.rstrip(".").lower())
        if turns is None:
            return None
        return turns.pop(0) if len(turns) > 1 else turns[0]

    def getaddrinfo(self, host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        """Stand for `socket.getaddrinfo` where no name server can be put in the system's way."""
        found = self.addresses(host)
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, port, 0, 0))
            if ":" in text
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
            for text in found
        ]


class NameServer(asyncio.DatagramProtocol):
    """DNS over UDP (RFC 1035), no more than a look-up of A and AAAA needs.

    A look-up asks for both kinds, in any order: the second question of a pair is answered from the same turn.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._turn: dict[str, tuple[int, list[str] | None]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the transport to answer with."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        assert self._transport is not None
        self._transport.sendto(self.answer(data), addr)

    def answer(self, query: bytes) -> bytes:
        """Give the answer to one query, as they are on the wire; raises `IndexError` for one that is broken off."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace"))
            at += 1 + length
        kind = int.from_bytes(query[at + 1 : at + 3])
        found = self._turn_of(".".join(labels), kind)
        records = [ip_address(text) for text in found or []]
        fitting = [address for address in records if _TYPE_OF[address.version] == kind]
        flags = 0x8180 | (_NO_SUCH_NAME if found is None else 0)
        head = query[:2] + flags.to_bytes(2) + b"\0\1" + len(fitting).to_bytes(2) + bytes(4)
        body = b"".join(
            b"\xc0\x0c" + kind.to_bytes(2) + b"\0\1" + bytes(4) + len(address.packed).to_bytes(2) + address.packed
            for address in fitting
        )
        return head + query[12 : at + 5] + body

    def _turn_of(self, name: str, kind: int) -> list[str] | None:
        asked = self._turn.pop(name, None)
        if asked is not None and asked[0] != kind:
            return asked[1]
        found = self._names.addresses(name)
        self._turn[name] = (kind, found)
        return found
