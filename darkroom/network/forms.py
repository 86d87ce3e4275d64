"""What a URL must look like before anything is asked about it: one reading only, whoever parses it."""

import re
from ipaddress import ip_address

from yarl import URL

from darkroom.errors import PermanentError
from darkroom.network.addresses import Address

DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK: tuple[Address, ...] = (ip_address("127.0.0.1"), ip_address("::1"))

_AUTHORITY = re.compile(r"[^/?#]*//(?P<user>[^/?#]*@)?(?:\[[^]]*]|[^:/?#]*)(?::(?P<port>[^/?#]*))?")
_PORT = re.compile(r"[0-9]{0,5}")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")


class AddressRefusedError(PermanentError):
    """The address is not one that may be reached; `reason` is for the URL's owner and holds no more than the host."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, code="output_unavailable")
        self.reason = reason


def check_form(url: str | URL) -> URL:
    """Give the parsed URL if it is an http or https one with a host, and nothing in it that parsers disagree about.

    Part of `check_url`. Callers of a guarded session go through it too: aiohttp has taken a user name out of the URL
    before the session's guard sees it.

    Raises:
        AddressRefusedError: it is not.
    """
    parsed = _parsed(url)
    if parsed.scheme not in DEFAULT_PORTS:
        raise AddressRefusedError("the URL must start with https://")
    # By the text: yarl takes an empty user name, and digits of any script or with signs in them, for what they mean.
    authority = _AUTHORITY.match(str(url))
    if authority is None or authority["user"] is not None:
        raise AddressRefusedError("the URL must not carry a user name or password")
    if not _PORT.fullmatch(authority["port"] or ""):
        raise AddressRefusedError("the port must be a plain number")
    return parsed


def written_addresses(host: str) -> tuple[Address, ...]:
    """Give the addresses that a host (lower case, as `URL.raw_host` has it) is without a lookup; none for a name.

    Raises:
        AddressRefusedError: neither an address in its usual spelling nor a name.
    """
    if "%" in host and ":" in host:
        raise AddressRefusedError("the host must not name a zone (an interface of the machine it is sent from)")
    name = host[:-1] if host.endswith(".") else host
    if ":" in name or name.count(".") == 3:
        try:
            return (ip_address(host),)
        except ValueError:
            if ":" in name:
                raise AddressRefusedError("the host is not a valid IPv6 address") from None
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise AddressRefusedError("write an IPv4 address as four decimal numbers with nothing before or after them")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefusedError("the host is not a valid name")
    return LOOPBACK if labels[-1] == "localhost" else ()


def _parsed(url: str | URL) -> URL:
    if _FORBIDDEN.search(str(url)):
        raise AddressRefusedError("the URL must not contain blanks, backslashes or control characters")
    try:
        parsed = URL(url)
        _ = parsed.port
    except (ValueError, IndexError):  # yarl 1.25 looks at the first letter of the empty host of `https://[a]@`
        raise AddressRefusedError("this is not a URL") from None
    if not parsed.raw_host:
        raise AddressRefusedError("the URL names no host")
    return parsed
