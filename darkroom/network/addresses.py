"""Which IP addresses are the public internet: `ipaddress` plus what its tables lack, refusing where in doubt."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254", "fd00:ec2::254", "fe80::a9fe:a9fe",  # nearly all; AWS; OpenStack
        "169.254.170.2", "169.254.170.23", "fd00:ec2::23",  # credentials of AWS' containers (ECS, EKS)
        "fd20:ce::254", "168.63.129.16",  # GCP; Azure's wire server, which has a public address
        "192.0.0.192", "fd00:c1::a9fe:a9fe",  # Oracle
        "100.100.100.200", "fd00:100::100:200", "169.254.0.23",  # Alibaba, Tencent
        "169.254.42.42", "fd00:42::42", "fd00:a9fe:a9fe::1",  # Scaleway, Akamai
    )
)  # fmt: skip
"""Metadata services, by the clouds' documentation and SDKs and cloud-init's data sources.

All but Azure's are not public anyway; the list says what an allowed network that is wider does not open.
"""

NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")
CGNAT = IPv4Network("100.64.0.0/10")
# Python 3.11 to 3.13 differ in what `is_global` knows; these are refused whatever the patch release (IANA
# special-purpose registries): 6to4 relays, protocol assignments, AS112, AMT and 6to4, Teredo, documentation.
SPECIAL: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24")
) + tuple(ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48"))


def unwrap(address: Address) -> Address:
    """Give the IPv4 address that an IPv4-mapped or NAT64 (RFC 6052) address leads to; others as they are.

    Without the zone, which only says through which interface: with one, an address equals no other.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return IPv6Address(int(address))
    return address


def why_not_public(address: Address) -> str | None:
    """Name the kind of an unwrapped address that is not on the public internet; None for one that is."""
    if address in METADATA:
        return "a cloud metadata"
    for kind, holds in (
        ("an unspecified", address.is_unspecified),
        ("a loopback", address.is_loopback),
        ("a link-local", address.is_link_local),
        ("a multicast", address.is_multicast),
        ("a shared (carrier-grade NAT)", isinstance(address, IPv4Address) and address in CGNAT),
        ("a private", address.is_private),
        ("a reserved", _reserved(address)),
    ):
        if holds:
            return kind
    return None


def _reserved(address: Address) -> bool:
    if address.is_reserved or not address.is_global or any(contains(network, address) for network in SPECIAL):
        return True
    return isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST


def contains(network: Network, address: Address) -> bool:
    """Say whether the address is in the network; of two IP versions never."""
    if isinstance(network, IPv4Network):
        return isinstance(address, IPv4Address) and address in network
    return isinstance(address, IPv6Address) and address in network
