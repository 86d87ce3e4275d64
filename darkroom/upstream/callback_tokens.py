"""The tokens in the addresses that upstream calls back: each names one send and can be made only by who has the key.

`<job id>.<attempt>.<send>.<mac>`; a token says which send a callback is about, not that upstream sent it: that the
signature of the callback says (`callbacks.py`).
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass

PATH = "/v1/upstream/callback/"
"""Where the ingress is called back: this and the token."""

KEY_BYTES = 32
MAC_BYTES = 16
_MEANT_FOR = b"darkroom callback token\0"


@dataclass(frozen=True, slots=True)
class SendName:
    """One POST: the `send`-th of an attempt of a job, both counted from 1."""

    job_id: str
    attempt: int
    send: int


def make_token(name: SendName, key: bytes) -> str:
    """Write the token of a send; ASCII that needs no quoting in a URL."""
    text = f"{name.job_id}.{name.attempt}.{name.send}"
    return f"{text}.{_mac(text, key)}"


def read_token(token: str, key: bytes) -> SendName | None:
    """Read which send a token names; None: nobody with the key made it. Takes as long for a near miss as for a far one.

    The text of the code is compared, not its bytes, so that each send has one token and no second spelling of it.
    """
    text, _, mac = token.rpartition(".")
    if not hmac.compare_digest(mac.encode(errors="replace"), _mac(text, key).encode()):
        return None
    job_id, attempt, send = text.split(".")
    return SendName(job_id, int(attempt), int(send))


def _mac(text: str, key: bytes) -> str:
    digest = hmac.new(key, _MEANT_FOR + text.encode(errors="replace"), hashlib.sha256).digest()
    return urlsafe_b64encode(digest[:MAC_BYTES]).rstrip(b"=").decode()
