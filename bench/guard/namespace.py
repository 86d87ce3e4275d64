"""A network of its own for the attempts, in which every address of the world is this machine, and the kernel's count.

Where the system lets nobody make one (a container without the right, or no Linux tools), the attempts run in the
machine's own network, and other programs' connections are told apart by repeating an attempt.
"""

import shutil
import socket
import subprocess
from pathlib import Path

from bench.figures import BenchError

_SNMP = Path("/proc/net/snmp")
# The addresses are there because the C library asks for no kind of which there is but loopback (AI_ADDRCONFIG).
_WORLD = ("link set lo up", "-4 route add local 0.0.0.0/0 dev lo", "-4 address add 192.0.2.1/32 dev lo")
_WORLD6 = ("-6 route add local ::/0 dev lo", "-6 address add 2001:db8::1/128 dev lo nodad")


def entry() -> list[str] | None:
    """Give the words before a command that run it in a new network; None where that is not possible."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return None
    for words in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if subprocess.run([*words, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode == 0:
            return words
    return None


def open_to_the_world() -> None:
    """Make every IPv4 and IPv6 address an address of this machine, in the new network that we are in.

    Raises:
        BenchError: the system refuses.
    """
    for words in _WORLD:
        _ip(words)
    for words in _WORLD6 if has_ipv6() else ():
        _ip(words)


def has_ipv6() -> bool:
    """Say whether this network has IPv6 at all; many containers have none."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _ip(words: str) -> None:
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"ip {words}: {done.stderr.strip()}")


def active_opens() -> int:
    """Count the TCP connections that were ever begun in this network (RFC 4022, tcpActiveOpens): each SYN of a connect.

    Raises:
        BenchError: no Linux.
    """
    if not _SNMP.exists():
        raise BenchError("the kernel's count of connections is read from /proc/net/snmp: this measurement needs Linux")
    names, values = [line.split()[1:] for line in _SNMP.read_text().splitlines() if line.startswith("Tcp:")]
    return int(values[names.index("ActiveOpens")])
