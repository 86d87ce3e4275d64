"""Whose callback it is: the vendor's v3 signature, computed here by hand."""

import hashlib
import hmac
from collections.abc import Callable

import pytest

from darkroom.upstream.callbacks import parse_callback, verify_callback
from darkroom.upstream.errors import InvalidCallbackError

SECRET = "whsec_c2VjcmV0"
NOW = 1_780_000_000
BODY = b'{"id":"p1","status":"completed"}'


def signed(body: bytes = BODY, *, key: bytes = b"c2VjcmV0", at: int = NOW, version: str = "v3") -> dict[str, str]:
    digest = hmac.new(key, b"msg_1." + str(at).encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": f"{version},{digest}"}


def check(headers: dict[str, str], *, body: bytes = BODY, secret: str = SECRET) -> None:
    verify_callback(headers, body, secret, now_s=NOW)


def test_upstreams_signature_is_accepted_in_headers_of_any_case() -> None:
    check(signed())
    check({name.title(): value for name, value in signed().items()})


def test_one_fitting_signature_of_several_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = "v1,abc v3,0000 " + headers["webhook-signature"]
    check(headers)


@pytest.mark.parametrize("offset", [-300, 300])
def test_the_tolerance_holds_both_ways(offset: int) -> None:
    check(signed(at=NOW + offset))


@pytest.mark.parametrize(
    "headers",
    [
        signed(b"another body"),
        signed(key=b"secret"),
        signed(key=b"whsec_c2VjcmV0"),
        signed(version="v1"),
        signed(at=NOW - 301),
        signed(at=NOW + 301),
        {**signed(), "webhook-id": "msg_2"},
        {**signed(), "webhook-timestamp": str(NOW + 1)},
        {**signed(), "webhook-timestamp": "now"},
        {**signed(), "webhook-timestamp": "١٧٨٠٠٠٠٠٠٠"},
        {**signed(), "webhook-signature": ""},
        {**signed(), "webhook-signature": "v3"},
        {**signed(), "webhook-signature": "v3,ünïcode"},
        {name: value for name, value in signed().items() if name != "webhook-signature"},
        {},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidCallbackError):
        check(headers)


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_without_a_secret_nothing_is_genuine(secret: str) -> None:
    with pytest.raises(InvalidCallbackError, match="no secret"):
        check(signed(key=b""), secret=secret)


def test_the_bare_prediction_is_read(sample: Callable[[str], bytes]) -> None:
    found = parse_callback(sample("callback-completed"))
    assert (found.id, found.status, found.nsfw) == ("e6832d4abffb4d79bfbca19783fca133", "completed", (False,))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"status":"completed"}', b'{"id":"x","a":"' + b"x" * 5_000_000])
def test_an_unreadable_callback_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidCallbackError):
        parse_callback(body)
