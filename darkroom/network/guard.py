"""One guard for every address that somebody else chose: webhook URLs and output URLs.

The decision is made on the socket address about to be connected to, right before the connect (aiohttp's
`socket_factory`), so that neither a name that resolves differently a second time nor an address written in the URL
gets past it. `check_url` decides early what needs no name lookup.
"""

import socket
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from aiohttp.connector import AddrInfoType
from yarl import URL

from darkroom.errors import RetryableError
from darkroom.network.addresses import METADATA, Address, Network, contains, unwrap, why_not_public
from darkroom.network.forms import DEFAULT_PORTS, AddressRefusedError, check_form, written_addresses
from darkroom.network.resolver import Resolver, lookup

_LOOPBACK_NETWORKS: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


class _RefusedAddress(OSError):
    """Tells the connector to try the host's next address."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be reached: https to public addresses, and what is said here.

    `allow_networks` may be reached although not public, over http too unless `http_in_networks` is off; but a metadata
    service in one of them only if the network is that one address. `allow_http` allows http to public addresses;
    `ports` restricts the ports everywhere, in `allow_networks` too (None: any).
    """

    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    allow_http: bool = False
    ports: frozenset[int] | None = None
    http_in_networks: bool = True


@dataclass(slots=True)
class _Attempt:
    scheme: str
    refusals: list[str] = field(default_factory=list)
    sockets: int = 0


_attempt: ContextVar[_Attempt | None] = ContextVar("guarded_attempt", default=None)


def check_url(url: str | URL, policy: AddressPolicy) -> None:
    """Refuse what can be decided without a name lookup: scheme, form, port, an address or `localhost` as host.

    Raises:
        AddressRefusedError: with a reason fit for a 422 answer.
    """
    parsed = check_form(url)
    scheme, host = parsed.scheme, (parsed.raw_host or "").lower()
    port = parsed.port if parsed.port is not None else DEFAULT_PORTS[scheme]
    if port == 0 or (policy.ports is not None and port not in policy.ports):
        allowed = f"; allowed: {', '.join(map(str, sorted(policy.ports)))}" if policy.ports else ""
        raise AddressRefusedError(f"port {port} is not allowed{allowed}")
    addresses = written_addresses(host)
    refusals = [_refusal(address, scheme, policy) for address in addresses]
    if refusals and all(refusals):
        raise AddressRefusedError(f"{host} {refusals[0]}")
    if not addresses and scheme == "http" and not (policy.allow_http or _http_somewhere(policy)):
        raise AddressRefusedError("plain http is not allowed; use https")


async def policy_for_upstream(base_url: str) -> AddressPolicy:
    """Make the policy for output URLs: as strict as for webhooks, but open to the network the upstream is on.

    That is loopback for a loopback upstream, the /24 (IPv6: /64) around a private address of it, or its own public
    address; over http only if `base_url` is http. Names are looked up once, now.

    Raises:
        AddressRefusedError: not a usable URL.
        RetryableError: the host's name does not resolve at the moment.
    """
    parsed = check_form(base_url)
    host = (parsed.raw_host or "").lower()
    addresses = list(written_addresses(host)) or await _lookup(host)
    networks = dict.fromkeys(network for address in addresses for network in _surroundings(unwrap(address)))
    return AddressPolicy(allow_networks=tuple(networks), http_in_networks=parsed.scheme == "http")


def guarded_session(
    policy: AddressPolicy,
    *,
    connections: int = 100,
    connections_per_host: int = 0,
    read_buffer_bytes: int = 2**16,
    headers: dict[str, str] | None = None,
    keep_alive_s: float = 15.0,
    trace_configs: list[aiohttp.TraceConfig] | None = None,
    response_class: type[ClientResponse] = ClientResponse,
    auto_decompress: bool = True,
) -> aiohttp.ClientSession:
    """Open a session that reaches only what the policy allows; the caller closes it.

    A refused request raises `AddressRefusedError` and no packet leaves. No cookies, no proxy from the environment.
    Callers pass `allow_redirects=False`; where one does not, every hop is checked like the first.
    """

    def guarded_socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = info
        attempt = _attempt.get()
        if attempt is None:
            raise AddressRefusedError("the request went past the address guard")
        refusal = _refusal(ip_address(str(sockaddr[0])), attempt.scheme, policy)
        if refusal is not None:
            attempt.refusals.append(refusal)
            raise _RefusedAddress(refusal)
        attempt.sockets += 1
        return socket.socket(family=family, type=kind, proto=protocol)

    async def guard(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        check_url(request.url, policy)
        attempt = _Attempt(request.url.scheme)
        token = _attempt.set(attempt)
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError:
            if attempt.refusals and not attempt.sockets:
                raise AddressRefusedError(f"{request.url.raw_host} {attempt.refusals[0]}") from None
            raise
        finally:
            _attempt.reset(token)

    connector = aiohttp.TCPConnector(
        limit=connections,
        limit_per_host=connections_per_host,
        keepalive_timeout=keep_alive_s,
        resolver=Resolver(),
        socket_factory=guarded_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        read_bufsize=read_buffer_bytes,
        middlewares=(guard,),
        trace_configs=trace_configs,
        response_class=response_class,
        auto_decompress=auto_decompress,
        headers=headers,
    )


def _refusal(address: Address, scheme: str, policy: AddressPolicy) -> str | None:
    reached = unwrap(address)
    if any(_opens(network, reached) for network in policy.allow_networks):
        return None if scheme == "https" or policy.http_in_networks else "may be reached over https only"
    kind = why_not_public(reached)
    if kind is not None:
        return f"is {kind} address, which is not allowed"
    return None if scheme == "https" or policy.allow_http else "may be reached over https only"


def _opens(network: Network, address: Address) -> bool:
    """Say whether an allowed network opens the address; one wide enough for neighbours opens no metadata service."""
    return contains(network, address) and (address not in METADATA or network.num_addresses == 1)


def _http_somewhere(policy: AddressPolicy) -> bool:
    return bool(policy.allow_networks) and policy.http_in_networks


async def _lookup(host: str) -> list[Address]:
    try:
        return [ip_address(address) for _, _, address in await lookup(host)]
    except OSError:
        raise RetryableError(f"the upstream's host {host} can't be resolved", delay_s=5) from None


def _surroundings(address: Address) -> tuple[Network, ...]:
    if address.is_loopback:
        return _LOOPBACK_NETWORKS
    width = 24 if isinstance(address, IPv4Address) else 64
    if why_not_public(address) is None:
        width = address.max_prefixlen
    return (ip_network((address, width), strict=False),)
