"""Which addresses count as public: a table."""

from ipaddress import ip_address

import pytest

from darkroom.network.addresses import unwrap, why_not_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82a::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]

NOT_PUBLIC = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "private"),
    ("10.0.0.1", "private"),
    ("100.64.0.1", "shared"),
    ("100.127.255.255", "shared"),
    ("100.100.100.200", "metadata"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("168.63.129.16", "metadata"),
    ("169.254.0.1", "link-local"),
    ("169.254.169.254", "metadata"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.1", "private"),
    ("192.0.0.10", "reserved"),
    ("192.0.2.1", "private"),
    ("192.88.99.1", "reserved"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "private"),
    ("198.51.100.7", "private"),
    ("203.0.113.7", "private"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("240.0.0.1", "private"),
    ("255.255.255.255", "private"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::7f00:1", "reserved"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.1.2.3", "private"),
    ("::ffff:169.254.169.254", "metadata"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::a00:1", "private"),
    ("64:ff9b:1::a00:1", "reserved"),
    ("100::1", "private"),
    ("2001::1", "reserved"),
    ("2001:db8::1", "private"),
    ("2002:7f00:1::", "reserved"),
    ("2002:808:808::", "reserved"),
    ("3fff::1", "reserved"),
    ("4000::1", "reserved"),
    ("5f00::1", "reserved"),
    ("fc00::1", "private"),
    ("fd00:ec2::254", "metadata"),
    ("fd00:ec2::254%eth0", "metadata"),
    ("fd12:3456::1", "private"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("fec0::1", "reserved"),
    ("ff02::1", "multicast"),
]


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.42.42",
    "169.254.0.23",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "fd00:100::100:200",
    "fe80::a9fe:a9fe",
]


@pytest.mark.parametrize("text", METADATA)
def test_every_clouds_metadata_service_is_known_as_one(text: str) -> None:
    assert why_not_public(unwrap(ip_address(text))) == "a cloud metadata"


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_public_internet_is_public(text: str) -> None:
    assert why_not_public(unwrap(ip_address(text))) is None


# The kinds shade into each other between Python releases (private, reserved); that there is one does not.
@pytest.mark.parametrize(("text", "kind"), NOT_PUBLIC)
def test_every_other_address_is_refused_by_its_kind(text: str, kind: str) -> None:
    found = why_not_public(unwrap(ip_address(text)))
    assert found is not None
    assert kind in found or {kind, found.split()[-1]} <= {"private", "reserved"}
