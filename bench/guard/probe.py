"""Tries every form at the connect, the way a worker does; run as a process of its own (`python -m bench.guard.probe`).

Reads `{"port", "proxy_port", "own_network"}` and writes what happened, both as JSON. It judges nothing.
"""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_network
from typing import Any

import aiohttp
import orjson
from yarl import URL

from bench.guard.forms import ANSWERS, CHECKS, LISTED_PORTS, PUBLIC, REFUSED, TURNCOAT, Form, forms
from bench.guard.listening import Names, NameServer, listening
from bench.guard.namespace import active_opens, has_ipv6, open_to_the_world
from darkroom.network import AddressPolicy, AddressRefusedError, check_form
from darkroom.network.resolver import lookup
from darkroom.webhooks.sender import attempt_delivery, webhook_session
from worker.outputs import OutputSession

TRIES = 20
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the last try of an attempt said, and how many connections the kernel saw begin meanwhile."""

    said: str
    opens: int
    tries: int


@dataclass(frozen=True, slots=True)
class Control:
    """An attempt that shall connect: what shows that the counts would have shown the others.

    `arrived` counts over all tries, the rest is of the last.
    """

    what: str
    said: str
    expected: str
    opens: int
    tries: int
    arrived: int
    expected_opens: int


async def counted(attempt: Callable[[], Awaitable[str]], *, expected: int) -> Attempt:
    """Make an attempt; where more connections began than expected, again, since they may be another program's.

    Those of the attempt itself come back each time, so that they are never taken for another's.
    """
    tries = 0
    while True:
        tries += 1
        before = active_opens()
        said = await attempt()
        opens = active_opens() - before
        if opens <= expected or tries == TRIES:
            return Attempt(said, opens, tries)


async def as_webhook(session: aiohttp.ClientSession, url: str) -> str:
    """Deliver to the URL as `notify` does; give the error, or `delivered`."""
    result = await attempt_delivery(
        session, url=url, event_id="evt_1", body=b"{}", secrets=[_SECRET], timeout_s=5, now_s=time.time()
    )
    return result.error or result.kind


async def as_output(outputs: OutputSession, url: str) -> str:
    """Fetch the URL as `store` does."""
    try:
        check_form(url)
        session = await outputs.get()
        async with session.get(URL(url, encoded=url.isascii()), timeout=aiohttp.ClientTimeout(5)) as response:
            return f"answered {response.status}"
    except AddressRefusedError as error:
        return REFUSED + error.reason
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"tried and failed ({type(error).__name__})"


async def try_forms(rows: list[Form], policy: AddressPolicy) -> list[dict[str, Any]]:
    """Try each as a webhook and, over https, as an output of a public upstream."""
    tried: list[dict[str, Any]] = []
    outputs = OutputSession(f"https://{PUBLIC}", connections=10)
    async with webhook_session(policy, connections=10) as session:
        for form in rows:
            if form.looked_up_before:
                await lookup(URL(form.url).raw_host or "")
            webhook = await counted(lambda url=form.url: as_webhook(session, url), expected=0)  # type: ignore[misc]
            row: dict[str, Any] = asdict(form) | {"webhook": asdict(webhook), "fetched": None}
            if form.output:
                url = form.url.replace("http:", "https:", 1)
                fetched = await counted(lambda url=url: as_output(outputs, url), expected=0)  # type: ignore[misc]
                row["fetched"] = asdict(fetched)
            tried.append(row)
    await outputs.close()
    return tried


async def main(order: dict[str, Any]) -> dict[str, Any]:
    """Try everything and give what was seen."""
    port, own = order["port"], order["own_network"]
    if own:
        open_to_the_world()
    ports = [port, 80, 443, 22, 6379] if own else [port]
    policy = AddressPolicy(allow_http=True, ports=frozenset({port, *LISTED_PORTS}))
    async with (
        listening(ports) as world,
        listening([order["proxy_port"]]) as proxy,
        answering(ANSWERS, own=own) as names,
    ):
        await world.arrived()
        opens_before = active_opens()
        rows = await try_forms(forms(port), policy)
        opens_after = active_opens()
        arrived = await world.arrived()
        controls: list[Control] = []
        for what, expected, attempt, opens in _controls(port, policy, own=own):
            seen = await counted(attempt, expected=opens)
            controls.append(Control(what, seen.said, expected, seen.opens, seen.tries, await world.arrived(), opens))
        return {
            "own_network": own,
            "names": names,
            "listeners": [f"{address}:{port}" for address in world.everywhere for port in world.ports],
            "rows": rows,
            "active_opens": [opens_before, opens_after],
            "arrived": arrived,
            "proxy_arrived": await proxy.arrived(),
            "controls": [asdict(control) for control in controls],
        }


def _controls(
    port: int, policy: AddressPolicy, *, own: bool
) -> list[tuple[str, str, Callable[[], Awaitable[str]], int]]:
    """Give what each is, what it is to say (a beginning), the attempt and how many connections it begins."""
    loopback = replace(policy, allow_networks=(ip_network("127.0.0.0/8"),))
    here = f"http://127.0.0.1:{port}"
    inner = f"{here}/to/http://10.0.0.1:{port}/"

    async def deliver(to: AddressPolicy, url: str) -> str:
        async with webhook_session(to, connections=10) as session:
            return await as_webhook(session, url)

    async def fetch(url: str) -> str:
        outputs = OutputSession(here, connections=1)
        try:
            return await as_output(outputs, url)
        finally:
            await outputs.close()

    controls: list[tuple[str, str, Callable[[], Awaitable[str]], int]] = [
        ("a webhook to an allowed network", "delivered", lambda: deliver(loopback, f"{here}/"), 1),
        (
            "a receiver that redirects a webhook inwards",
            "the receiver answers 302: a redirect, which is not followed",
            lambda: deliver(loopback, inner),
            1,
        ),
        ("an upstream that redirects an output inwards", REFUSED + "10.0.0.1", lambda: fetch(inner), 1),
    ]
    if own:
        turncoat = f"http://{TURNCOAT}:{port}/"
        controls += [
            ("a webhook to a public address", "delivered", lambda: deliver(policy, f"http://{PUBLIC}:{port}/"), 1),
            ("a name with a public address", "delivered", lambda: deliver(policy, turncoat), 1),
            ("the same name, now 127.0.0.1", REFUSED + TURNCOAT, lambda: deliver(policy, turncoat), 0),
        ]
    return controls


@asynccontextmanager
async def answering(answers: dict[str, list[list[str]]], *, own: bool) -> AsyncIterator[str]:
    """Have names looked up at our server, in a network of our own, and say so; else (or if the system asks elsewhere,
    such as a local daemon, or not for IPv6) answer in the place of the system's look-up.
    """
    names = Names(answers)
    if not own:
        socket.getaddrinfo = names.getaddrinfo  # type: ignore[assignment]
        yield "in the place of the system's look-up"
        return
    # Every address is ours, that of the system's name server too, whichever it is; `::` takes IPv4 as well.
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(names), local_addr=("::" if has_ipv6() else "0.0.0.0", 53)
    )
    try:
        if all([await _resolves(name) for name in CHECKS]):
            yield "a name server that the system's look-up asks"
        else:
            socket.getaddrinfo = names.getaddrinfo  # type: ignore[assignment]
            yield "in the place of the system's look-up"
    finally:
        transport.close()


async def _resolves(name: str) -> bool:
    try:
        return bool(await lookup(name))
    except OSError:
        return False


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(main(orjson.loads(sys.stdin.buffer.read())))))
