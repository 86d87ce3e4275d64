"""Every form of address that the guard must refuse: the table's rows, before anything was tried."""

from dataclasses import dataclass

PUBLIC = "93.184.215.14"
LISTED_PORTS = (80, 443)
"""Ports that the run's settings list beside the listeners' own."""

TURNCOAT = "turncoat.example"
CHECKS = ("check.example", "check6.example")
"""Names that show whether the system asks our name server, for either kind of address."""

REFUSED = "address refused: "
"""How what was said of a refused attempt begins."""

ANSWERS: dict[str, list[list[str]]] = {
    "loopback.example": [["127.0.0.1"]],
    "private.example": [["10.0.0.1"]],
    "metadata.example": [["169.254.169.254"]],
    "loopback6.example": [["::1"]],
    "metadata6.example": [["fd00:ec2::254"]],
    "mapped.example": [["::ffff:127.0.0.1"]],
    "nat64.example": [["64:ff9b::7f00:1"]],
    "anywhere.example": [["0.0.0.0"]],
    "several.example": [["10.0.0.1", "127.0.0.1", "::1"]],
    "rebinding.example": [[PUBLIC], ["127.0.0.1"]],
    TURNCOAT: [[PUBLIC], ["127.0.0.1"]],
    CHECKS[0]: [["192.0.2.53"]],
    CHECKS[1]: [["2001:db8::53"]],
}
"""What the name server says to each look-up of a name in turn; the last stays."""


@dataclass(frozen=True, slots=True)
class Form:
    """One URL. Of a `name` posting can't know where it leads; `output` says whether it is tried as an output URL too.

    `looked_up_before`: somebody has asked for the name just before, as a check apart from the connect would.
    """

    group: str
    url: str
    name: bool = False
    output: bool = True
    looked_up_before: bool = False


_HOSTS: dict[str, tuple[str, ...]] = {
    "IPv4 loopback, spelled": (
        "127.0.0.1", "127.255.255.254", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001",
        "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "0127.0.0.1", "127.0.0.0x1", "%31%32%37.0.0.1", "127%2e0%2e0%2e1",
        "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021",
        "127\uff0e0\uff0e0\uff0e1",
    ),
    "localhost": ("localhost", "LOCALHOST", "localhost.", "api.localhost", "\u24dbocalhost"),
    "this machine": ("0.0.0.0", "0", "0x0", "0.1.2.3", "[::]"),
    "private, shared, link-local": (
        "10.0.0.1", "167772161", "172.16.0.1", "172.31.255.254", "192.168.1.1", "192.168.257", "0xc0a80101",
        "100.64.0.1", "100.127.255.254", "169.254.0.1",
    ),
    "metadata services": (
        "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.169.254.",
        "[::ffff:169.254.169.254]", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192",
        "[fd00:ec2::254]", "169.254.170.23", "169.254.42.42", "[fd20:ce::254]", "[fd00:c1::a9fe:a9fe]",
        "[fe80::a9fe:a9fe]",
    ),
    "reserved, multicast, broadcast": (
        "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7", "203.0.113.7", "224.0.0.1",
        "239.255.255.250", "240.0.0.1", "255.255.255.255",
    ),
    "IPv6": (
        "[::1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[::1%25lo]", "[fe80::1]", "[fe80::1%25eth0]",
        "[2606:4700:4700::1111%25lo]", "[fc00::1]", "[fd12:3456::1]", "[fec0::1]", "[ff02::1]", "[100::1]",
        "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[v1.fe80::a]", "[127.0.0.1]",
    ),
    "IPv4 inside IPv6": (
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:0a00:0001]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    ),
}  # fmt: skip

_WHOLE: dict[str, tuple[str, ...]] = {
    "user names": (
        "http://user@127.0.0.1:{port}/", "http://user:pass@127.0.0.1:{port}/", "http://@127.0.0.1:{port}/",
        "http://[::1]@/",
        "http://" + PUBLIC + ":{port}@127.0.0.1:{port}/", "http://" + PUBLIC + "\\@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@" + PUBLIC + "/", "http://" + PUBLIC + "\uff20127.0.0.1:{port}/",
    ),
    "blanks and control characters": (
        "http://127.0.0.1:{port}/\r\nHost: x", "http://" + PUBLIC + ":{port}/\r\nX: y", "http://127.0.0.1 :{port}/",
        "http://\t127.0.0.1:{port}/", "http://127.0.0.1\x00.example:{port}/", "http:\\\\127.0.0.1:{port}/",
    ),
    "ports": (
        "http://" + PUBLIC + ":0/", "http://" + PUBLIC + ":65536/", "http://" + PUBLIC + ":-1/",
        "http://" + PUBLIC + ":+{port}/", "http://" + PUBLIC + ":\u0668\u0660/",
    ),
    "schemes and hosts": (
        "ftp://127.0.0.1:{port}/", "file:///etc/passwd", "gopher://127.0.0.1:{port}/_x", "ws://127.0.0.1:{port}/",
        "unix:///run/redis.sock", "javascript:alert(1)", "http:///x", "http:127.0.0.1:{port}/", "//127.0.0.1:{port}/",
        "127.0.0.1:{port}",
    ),
}  # fmt: skip


def forms(port: int) -> list[Form]:
    """Give every form; where it could lead to a listener it names the listeners' `port`."""
    rows = [Form(group, f"http://{host}:{port}/") for group, hosts in _HOSTS.items() for host in hosts]
    rows += [Form(group, url.replace("{port}", str(port))) for group, urls in _WHOLE.items() for url in urls]
    rows += [Form("ports that are not listed", f"http://{PUBLIC}:{other}/", output=False) for other in (22, 6379)]
    for name in ANSWERS:
        if name not in (TURNCOAT, *CHECKS):
            group = "names" if name != "rebinding.example" else "a name server that lies"
            rows.append(Form(group, f"http://{name}:{port}/", name=True, looked_up_before=group != "names"))
    return rows
