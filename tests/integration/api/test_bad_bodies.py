"""What a job request may hold: every bound just inside and just outside, and nothing left behind by what is refused."""

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from darkroom.store import keys
from tests.support.api import RunningApi
from tests.support.settings import ACME

JSON = {"Content-Type": "application/json"}
WEBHOOK = "https://example.com/hook"
Loc = list[Any]


def body(**fields: Any) -> dict[str, Any]:
    return {"prompt": "a fox", **fields}


GOOD: dict[str, dict[str, Any]] = {
    "prompt of 1 character": {"prompt": "x"},
    "prompt of 10,000 characters": {"prompt": "x" * 10_000},
    "prompt of 10,000 characters beyond the BMP": {"prompt": "🦊" * 10_000},
    "smallest side": body(size="1440*2560"),
    "largest size": body(size="4096*4096"),
    "size with x": body(size="2048x2048"),
    "1 image": body(max_images=1),
    "15 images": body(max_images=15),
    "no metadata": body(metadata={}),
    "16 pairs of metadata": body(metadata={str(number): "" for number in range(16)}),
    "metadata key of 64 characters": body(metadata={"k" * 64: "v"}),
    "metadata value of 512 characters": body(metadata={"k": "v" * 512}),
    "low priority": body(priority="low"),
    "high priority": body(priority="high"),
    "expiry of null": body(expires_in=None),
    "shortest expiry": body(expires_in=1),
    "longest expiry": body(expires_in=5_184_000),
    "custom id of 255 characters": body(custom_id="c" * 255),
    "webhook": body(webhook={"url": WEBHOOK}),
    "webhook for all events": body(webhook={"url": WEBHOOK, "events": None}),
    "webhook for late outputs": body(webhook={"url": WEBHOOK, "events": ["job.outputs_late"]}),
    "both modes": body(enable_base64_output=True, enable_sync_mode=True),
}

INVALID: dict[str, tuple[dict[str, Any], Loc]] = {
    "webhook for batches alone": (body(webhook={"url": WEBHOOK, "events": ["batch.completed"]}), ["body", "webhook"]),
    "no prompt": ({}, ["body", "prompt"]),
    "empty prompt": ({"prompt": ""}, ["body", "prompt"]),
    "blank prompt": ({"prompt": " \n\t"}, ["body", "prompt"]),
    "prompt of 10,001 characters": ({"prompt": "x" * 10_001}, ["body", "prompt"]),
    "prompt of null": ({"prompt": None}, ["body", "prompt"]),
    "prompt that is a number": ({"prompt": 7}, ["body", "prompt"]),
    "side too small": (body(size="1439*4096"), ["body", "size"]),
    "side too large": (body(size="1440*4097"), ["body", "size"]),
    "too few pixels": (body(size="1440*2559"), ["body", "size"]),
    "size without star": (body(size="2048"), ["body", "size"]),
    "size with a sign": (body(size="+2048*2048"), ["body", "size"]),
    "size in other digits": (body(size="２０４８*2048"), ["body", "size"]),
    "size that is null": (body(size=None), ["body", "size"]),
    "0 images": (body(max_images=0), ["body", "max_images"]),
    "16 images": (body(max_images=16), ["body", "max_images"]),
    "images as text": (body(max_images="4"), ["body", "max_images"]),
    "images as a fraction": (body(max_images=4.0), ["body", "max_images"]),
    "images as true": (body(max_images=True), ["body", "max_images"]),
    "images of null": (body(max_images=None), ["body", "max_images"]),
    "flag as text": (body(enable_sync_mode="true"), ["body", "enable_sync_mode"]),
    "flag as number": (body(enable_base64_output=1), ["body", "enable_base64_output"]),
    "17 pairs of metadata": (body(metadata={str(number): "" for number in range(17)}), ["body", "metadata"]),
    "metadata key of 65 characters": (body(metadata={"k" * 65: "v"}), ["body", "metadata", "k" * 65]),
    "empty metadata key": (body(metadata={"": "v"}), ["body", "metadata", ""]),
    "metadata value of 513 characters": (body(metadata={"k": "v" * 513}), ["body", "metadata", "k"]),
    "metadata value that is a number": (body(metadata={"k": 1}), ["body", "metadata", "k"]),
    "metadata that is a list": (body(metadata=["k"]), ["body", "metadata"]),
    "unknown priority": (body(priority="urgent"), ["body", "priority"]),
    "expiry of 0": (body(expires_in=0), ["body", "expires_in"]),
    "expiry too long": (body(expires_in=5_184_001), ["body", "expires_in"]),
    "expiry that is endless": (body(expires_in=10**30), ["body", "expires_in"]),
    "empty custom id": (body(custom_id=""), ["body", "custom_id"]),
    "custom id of 256 characters": (body(custom_id="c" * 256), ["body", "custom_id"]),
    "unknown field": (body(promt="x"), ["body", "promt"]),
    "webhook as text": (body(webhook=WEBHOOK), ["body", "webhook"]),
    "webhook without url": (body(webhook={}), ["body", "webhook", "url"]),
    "webhook with an unknown field": (body(webhook={"url": WEBHOOK, "secret": "x"}), ["body", "webhook", "secret"]),
    "webhook for an unknown event": (body(webhook={"url": WEBHOOK, "events": ["x"]}), ["body", "webhook", "events", 0]),
    "webhook for no event": (body(webhook={"url": WEBHOOK, "events": []}), ["body", "webhook", "events"]),
    "webhook url too long": (body(webhook={"url": WEBHOOK + "x" * 2048}), ["body", "webhook", "url"]),
    "webhook over http": (body(webhook={"url": "http://example.com/"}), ["body", "webhook", "url"]),
    "webhook to this machine": (body(webhook={"url": "https://127.0.0.1/"}), ["body", "webhook", "url"]),
    "webhook to localhost": (body(webhook={"url": "https://localhost/"}), ["body", "webhook", "url"]),
    "webhook to the metadata address": (body(webhook={"url": "https://169.254.169.254/"}), ["body", "webhook", "url"]),
    "webhook to IPv6 loopback": (body(webhook={"url": "https://[::1]/"}), ["body", "webhook", "url"]),
    "webhook to no host after a bracket": (body(webhook={"url": "https://[::1]@"}), ["body", "webhook", "url"]),
    "webhook that is no url": (body(webhook={"url": "example"}), ["body", "webhook", "url"]),
    "webhook with a password": (body(webhook={"url": "https://a:b@example.com/"}), ["body", "webhook", "url"]),
}

NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b"  \n",
    "broken off": b'{"prompt": "a fox"',
    "trailing comma": b'{"prompt": "a fox",}',
    "two objects": b'{"prompt": "a"}{"prompt": "b"}',
    "single quotes": b"{'prompt': 'a fox'}",
    "a list": b'[{"prompt": "a fox"}]',
    "text": b'"a fox"',
    "null": b"null",
    "a number": b"1",
    "invalid UTF-8": b'{"prompt": "\xff\xfe"}',
    "broken UTF-8": b'{"prompt": "\xc3"}',
    "overlong UTF-8": b'{"prompt": "\xc0\x80"}',
    "UTF-16": '{"prompt": "a fox"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"prompt": "a fox"}',
    "encoded surrogate": b'{"prompt": "\xed\xa0\x80"}',
    "lone high surrogate": b'{"prompt": "\\ud800"}',
    "lone low surrogate": b'{"prompt": "\\udc00 fox"}',
    "raw NUL": b'{"prompt": "a\x00fox"}',
    "raw line feed in text": b'{"prompt": "a\nfox"}',
    "deep nesting": b'{"prompt": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "deep unclosed nesting": b"[" * 100_000,
    "a name twice": b'{"prompt": "a fox", "prompt": "a wolf"}',
    "a name twice inside": b'{"prompt": "a fox", "metadata": {"k": "1", "k": "2"}}',
    "NaN": b'{"prompt": "a fox", "max_images": NaN}',
    "Infinity": b'{"prompt": "a fox", "max_images": Infinity}',
    "endless number": b'{"prompt": "a fox", "max_images": ' + b"1" * 5_000 + b"}",
}


@pytest.fixture
def nothing_enqueued(redis_client: redis.Redis) -> Iterator[None]:
    """Hold that what was refused has left no key at all: no job, no place in the line, no idempotency key."""
    assert redis_client.keys(f"{keys.ROOT}*") == []  # a wake-up call for the job of a test before may still come
    yield
    assert redis_client.keys(f"{keys.ROOT}*") == []


@pytest.mark.parametrize("sent", GOOD.values(), ids=GOOD.keys())
def test_what_is_just_inside_a_bound_is_accepted(acme: httpx.Client, sent: dict[str, Any]) -> None:
    answer = acme.post("/v1/jobs", json=sent)
    assert answer.status_code == 202, answer.text
    request = answer.json()["request"]
    assert {name: request[name] for name in sent if name not in ("size", "webhook")} == {
        name: value for name, value in sent.items() if name not in ("size", "webhook")
    }


@pytest.mark.parametrize(("sent", "loc"), INVALID.values(), ids=INVALID.keys())
def test_what_is_just_outside_a_bound_is_refused_by_name(
    acme: httpx.Client, nothing_enqueued: None, sent: dict[str, Any], loc: Loc
) -> None:
    answer = acme.post("/v1/jobs", json=sent, headers={"Idempotency-Key": "k"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "validation_error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert loc in [error["loc"] for error in problem["errors"]]
    assert all(error["msg"] for error in problem["errors"])


@pytest.mark.parametrize("raw", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_a_body_that_is_not_one_plain_object_is_refused(acme: httpx.Client, nothing_enqueued: None, raw: bytes) -> None:
    answer = acme.post("/v1/jobs", content=raw, headers=JSON | {"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b'{\n  "prompt": nix\n}', "line 2 column 14"),
        (b'{"prompt": "a fox", "prompt": "b"}', "'prompt' is given twice"),
        (b'{"prompt": "\xff"}', "byte 13"),
    ],
)
def test_invalid_json_says_where(acme: httpx.Client, nothing_enqueued: None, raw: bytes, where: str) -> None:
    assert where in acme.post("/v1/jobs", content=raw, headers=JSON).json()["detail"]


def test_every_wrong_field_is_named_at_once(acme: httpx.Client, nothing_enqueued: None) -> None:
    answer = acme.post("/v1/jobs", json={"max_images": 99, "promt": "a fox", "size": "1*1"}).json()
    assert [error["loc"][1] for error in answer["errors"]] == ["prompt", "size", "max_images", "promt"]
    assert "did you mean prompt" in answer["errors"][3]["msg"]
    assert "15" in answer["errors"][2]["msg"]


def test_a_flood_of_errors_is_cut_off(acme: httpx.Client, nothing_enqueued: None) -> None:
    sent = body(metadata={f"{'k' * 90}{number}": 1 for number in range(5_000)})
    answer = acme.post("/v1/jobs", json=sent)
    assert len(answer.json()["errors"]) == 100
    assert len(answer.content) < 30_000


def test_a_refusal_does_not_repeat_what_was_sent(acme: httpx.Client, nothing_enqueued: None) -> None:
    sent = body(max_images="s3cret", webhook={"url": "http://10.0.0.1/?token=s3cret", "events": ["s3cret"]})
    assert "s3cret" not in acme.post("/v1/jobs", json=sent).text
    assert "s3cret" not in acme.post("/v1/jobs", json=body(webhook={"url": "http://10.0.0.1/?token=s3cret"})).text


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json; charset=latin-1",
        "application/x-ndjson",
    ],
)
def test_a_body_that_does_not_say_it_is_json_is_refused(
    acme: httpx.Client, nothing_enqueued: None, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = acme.post("/v1/jobs", content=b'{"prompt": "a fox"}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_compressed_body_is_refused_by_that_name(acme: httpx.Client, nothing_enqueued: None) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = acme.post("/v1/jobs", content=gzip.compress(b'{"prompt": "a fox"}'), headers=headers)
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json()["detail"]


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "Application/JSON", "application/a+json"])
def test_every_form_of_json_is_taken(acme: httpx.Client, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    assert acme.post("/v1/jobs", content=b'{"prompt": "a fox"}', headers=headers).status_code == 202


def test_a_body_of_exactly_one_mebibyte_is_read(acme: httpx.Client) -> None:
    raw = json.dumps(body()).encode()
    assert acme.post("/v1/jobs", content=raw + b" " * (2**20 - len(raw)), headers=JSON).status_code == 202


def test_a_body_over_one_mebibyte_is_refused(acme: httpx.Client, nothing_enqueued: None) -> None:
    raw = json.dumps(body()).encode()
    answer = acme.post("/v1/jobs", content=raw + b" " * (2**20 - len(raw) + 1), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_chunked_body_over_one_mebibyte_is_refused(api: RunningApi, nothing_enqueued: None) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {ACME}\r\n\r\n".encode()
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    assert _raw_status(api, head + chunk * 17) == 413


def test_an_announced_size_over_one_mebibyte_is_refused_before_the_body_comes(
    api: RunningApi, nothing_enqueued: None
) -> None:
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {2**20 + 1}\r\nAuthorization: Bearer {ACME}\r\n"
    assert _raw_status(api, f"{head}Content-Type: application/json\r\n\r\n".encode()) == 413


def _raw_status(api: RunningApi, sent: bytes) -> int:
    """Send bytes that no client library would, without ending them, and give the status of the answer."""
    address = urlsplit(api.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        connection.sendall(sent)
        return int(connection.recv(4096).split(b" ")[1])
