"""Batches over HTTP: whole or not at all, strict or not, once under each key, in order."""

import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from api.body import parse_body
from darkroom.batches import Batch, BatchRetry
from darkroom.store import keys
from darkroom.store.batches import BatchStore
from tests.support.waiting import wait_until

NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(*jobs: dict[str, Any]) -> bytes:
    return b"".join(json.dumps({"prompt": "a fox"} | job).encode() + b"\n" for job in jobs)


def post(client: httpx.Client, body: bytes | Iterator[bytes], query: str = "", **headers: str) -> httpx.Response:
    return client.post(f"/v1/batches{query}", content=body, headers=NDJSON | headers)


def staged(redis_url: str) -> list[str]:
    """Name what is left of batches in the store."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return [str(key) for kind in ("job", "batch", "flow") for key in client.keys(f"{keys.ROOT}{kind}:*")]


def waiting(client: httpx.Client) -> int:
    return len(client.get("/v1/jobs?limit=200").json()["data"])


def test_a_batch_is_accepted_with_its_counts_and_what_it_costs(acme: httpx.Client) -> None:
    answer = post(acme, lines({"custom_id": "one", "max_images": 3}, {}), "?metadata.order=7&priority=high")
    assert answer.status_code == 202
    batch = Batch.model_validate(answer.json())
    assert (batch.status, batch.total, batch.counts.queued) == ("running", 2, 2)
    assert (batch.cost.estimated, batch.cost.images_requested, batch.metadata) == (0.16, 4, {"order": "7"})
    assert answer.headers["Location"] == f"/v1/batches/{batch.id}"
    assert acme.get(answer.headers["Location"]).json()["id"] == batch.id
    jobs = acme.get(f"/v1/jobs?batch_id={batch.id}").json()["data"]
    assert [(job["batch_id"], job["priority"], job["custom_id"]) for job in jobs] == [
        (batch.id, "high", None),
        (batch.id, "high", "one"),
    ]
    assert [job["queue_position"] for job in jobs] == [2, 1]


def test_a_json_batch_is_parsed_beside_other_requests(acme: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def parse(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread().name)
        return parse_body(*args, **kwargs)

    monkeypatch.setattr("api.routes.batches.parse_body", parse)
    assert acme.post("/v1/batches", json={"jobs": [{"prompt": "a"}]}).status_code == 202
    assert len(threads) == 1
    assert "api" not in threads, "the thread of every request"


def test_a_json_batch_with_defaults_is_the_same(acme: httpx.Client) -> None:
    body = {
        "jobs": [{"prompt": "a"}, {"prompt": "b", "max_images": 2}],
        "defaults": {"max_images": 5, "priority": "low"},
        "metadata": {"order": "7"},
    }
    batch = acme.post("/v1/batches", json=body).json()
    assert (batch["total"], batch["cost"]["images_requested"], batch["metadata"]) == (2, 7, {"order": "7"})


@pytest.mark.parametrize(
    ("body", "query", "loc", "words"),
    [
        (b'{"prompt": "a"}\n\n{"prompt": ""}\n', "", ["line", 3, "prompt"], "must not be empty"),
        (b'{"prompt": "a"}\n{"prompt"\n', "", ["line", 2], "the line is not JSON"),
        (b'{"prompt": "a", "max_images": 16}', "", ["line", 1, "max_images"], "must be 15 or less"),
        (b'{"prompt": "a", "prompts": 1}', "", ["line", 1, "prompts"], "did you mean prompt?"),
        (b"[1]\n", "", ["line", 1], "must be an object"),
        (lines({"custom_id": "x"}, {"custom_id": "x"}), "", ["line", 2, "custom_id"], "the same as that of line 1"),
        (b'{"prompt": "' + b"x" * 2**20 + b'"}\n', "", ["line", 1], "1048576 bytes"),
        (lines({"webhook": {"url": "https://10.0.0.1/"}}), "", ["line", 1, "webhook", "url"], "private"),
        (b"\n \n", "", ["body"], "the batch is empty"),
        (lines({}), "?priority=urgent", ["query", "priority"], "must be one of"),
        (lines({}), "?expires_in=soon", ["query", "expires_in"], "whole number"),
        (lines({}), "?webhook_events=job.failed", ["query", "webhook_events"], "needs webhook_url"),
        (
            lines({}),
            "?webhook_url=https://e.example&webhook_events=job.done",
            ["query", "webhook", "events", 0],
            "one of",
        ),
        (lines({}), "?webhook_url=http://127.0.0.1/", ["webhook", "url"], "loopback"),
        (lines({}), "?prio=low", ["query", "prio"], "did you mean priority?"),
        (b"\xff\n", "", ["line", 1], "not UTF-8"),
        (b"\xef\xbb\xbf" + lines({}), "", ["line", 1], "the line begins with a byte order mark"),
        (lines({}), "?metadata.a=1&metadata.a=2", ["query", "metadata.a"], "given once"),
    ],
)
def test_a_bad_line_or_option_refuses_the_whole_batch_and_says_where(
    body: bytes, query: str, loc: list[str | int], words: str, acme: httpx.Client, redis_url: str
) -> None:
    answer = post(acme, body, query, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    [error] = answer.json()["errors"]
    assert error["loc"] == loc
    assert words in error["msg"]
    assert waiting(acme) == 0
    assert staged(redis_url) == []
    assert post(acme, lines({}), **{"Idempotency-Key": "k"}).status_code == 202, "its key is free again"


@pytest.mark.parametrize("query", ["?on_invalid=skip", "?on_invalid=skip&priority=low"])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[" * 100_000, "recursion limit"),
        (b'{"prompt": ' * 500, "recursion limit"),
        (b'{"prompt": "\\ud800"}', "hex escape"),
        (b'{"prompt": "a", "expires_in": 1e400}', "must be a whole number"),
        (b'{"prompt": "a", "expires_in": Infinity}', "is not a JSON number"),
        (b'{"prompt": "a", "max_images": ' + b"9" * 30 + b"}", "must be 15 or less"),
        (b'{"prompt": "a", "max_images": ' + b"9" * 5_000 + b"}", "out of range"),
        (b'{"prompt": "a", "prompt": "b"}', "given twice"),
    ],
)
def test_what_no_reader_of_json_can_hold_is_a_bad_line_like_any_other(
    line: bytes, words: str, query: str, acme: httpx.Client
) -> None:
    answer = post(acme, lines({}) + line + b"\n" + lines({}), query)
    assert (answer.status_code, answer.json()["total"]) == (202, 2), answer.text
    [error] = answer.json()["skipped"]["errors"]
    assert error["loc"][:2] == ["line", 2]
    assert words in error["msg"]


@pytest.mark.parametrize("number", ["9" * 30, "1e400"])
def test_a_number_of_a_json_batch_that_is_too_large_is_named(number: str, acme: httpx.Client) -> None:
    body = f'{{"jobs": [{{"prompt": "a", "expires_in": {number}}}]}}'
    answer = acme.post("/v1/batches", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"][:2] == ["line", 1]


def test_every_bad_line_is_named_up_to_a_hundred_errors(acme: httpx.Client) -> None:
    body = lines(*({} if number % 2 else {"max_images": 99} for number in range(1, 31)))
    assert [error["loc"] for error in post(acme, body).json()["errors"]] == [
        ["line", number, "max_images"] for number in range(2, 31, 2)
    ]
    answer = post(acme, lines(*[{"max_images": 0}] * 300))
    assert len(answer.json()["errors"]) == 100


def test_the_good_lines_are_taken_where_that_is_wanted(acme: httpx.Client) -> None:
    batch = post(acme, lines({}, {"max_images": 99}, {}), "?on_invalid=skip").json()
    assert (batch["total"], batch["counts"]["queued"]) == (2, 2)
    assert batch["skipped"] == {"lines": 1, "errors": [{"loc": ["line", 2, "max_images"], "msg": "must be 15 or less"}]}
    assert post(acme, lines({"max_images": 99}), "?on_invalid=skip").status_code == 422


def test_the_same_upload_under_its_key_gives_the_first_batch(acme: httpx.Client) -> None:
    key = {"Idempotency-Key": "k"}
    first = post(acme, lines({}, {}), **key)
    again = post(acme, lines({}, {}), **key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.json()["id"] == first.json()["id"]
    assert waiting(acme) == 2
    other = post(acme, lines({}), **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    other = post(acme, lines({}, {}), "?priority=low", **key)
    assert other.json()["code"] == "idempotency_mismatch"
    job = acme.post("/v1/jobs", json={"prompt": "a"}, headers=key)
    assert job.json()["code"] == "idempotency_mismatch"


def test_a_second_upload_under_a_key_waits_for_the_first(acme: httpx.Client, umbra: httpx.Client) -> None:
    key = {"Idempotency-Key": "k"}
    seen: list[httpx.Response] = []

    def slowly() -> Iterator[bytes]:
        yield lines(*[{}] * 3)
        seen.append(post(umbra, lines({}), **key))  # another tenant's key is another key
        with httpx.Client(base_url=acme.base_url, headers=acme.headers) as second:
            seen.append(post(second, lines({}), **key))
        yield lines({})

    assert post(acme, slowly(), **key).json()["total"] == 4
    assert [answer.status_code for answer in seen] == [202, 409]
    assert (seen[1].json()["code"], int(seen[1].headers["Retry-After"]) > 0) == ("idempotency_in_progress", True)


def answers(client: httpx.Client, status: str) -> float:
    """Count the uploads that were answered so; "0" is not at all."""
    pattern = rf'^\w+_count{{method="POST",route="/v1/batches",status="{status}"}} (\S+)$'
    found = re.search(pattern, client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0


def test_an_upload_that_breaks_off_is_no_crash_of_ours(acme: httpx.Client, redis_url: str) -> None:
    unanswered, crashed = answers(acme, "0"), answers(acme, "500")

    def breaks() -> Iterator[bytes]:
        yield lines({})
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        post(acme, breaks())
    wait_until(lambda: answers(acme, "0") + answers(acme, "500") > unanswered + crashed, what="the upload to end")
    assert (answers(acme, "0"), answers(acme, "500")) == (unanswered + 1, crashed)


def test_an_upload_that_breaks_off_leaves_nothing_and_may_be_repeated(acme: httpx.Client, redis_url: str) -> None:
    def breaks() -> Iterator[bytes]:
        yield lines(*[{}] * 600)
        raise ConnectionResetError

    key = {"Idempotency-Key": "k"}
    with pytest.raises(ConnectionResetError):
        post(acme, breaks(), **key)
    wait_until(lambda: not staged(redis_url), what="the staged jobs to go")
    assert post(acme, lines({}), **key).status_code == 202


def test_an_upload_that_stalls_is_given_up_and_may_be_repeated(
    acme: httpx.Client, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.batch_upload.STALLED_S", 0.2)
    head = f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: {acme.headers['Authorization']}\r\n"
    head += "Content-Type: application/x-ndjson\r\nIdempotency-Key: k\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection((acme.base_url.host, acme.base_url.port or 80), timeout=20) as client:
        client.sendall(head.encode() + lines(*[{}] * 600))
        answer = b"".join(iter(lambda: client.recv(65536), b""))  # it says so and hangs up
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"upload_stalled"' in answer
    assert staged(redis_url) == []
    assert post(acme, lines({}), **{"Idempotency-Key": "k"}).status_code == 202


def test_what_is_accepted_is_answered_so_though_its_jobs_can_not_be_listed_now(
    acme: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(self: BatchStore, batch_id: str, sweep: str) -> None:
        raise redis.exceptions.ConnectionError("reset")

    monkeypatch.setattr(BatchStore, "sweep", breaks)
    answer = post(acme, lines({}, {}))
    assert (answer.status_code, answer.json()["total"]) == (202, 2)
    monkeypatch.undo()
    assert len(acme.get(f"/v1/jobs?batch_id={answer.json()['id']}").json()["data"]) == 2


def test_too_much_is_refused(acme: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.batch_lines.MOST_JOBS", 3)
    answer = post(acme, lines(*[{}] * 4))
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_lines")
    monkeypatch.setattr("api.routes.batches.MOST_UPLOAD_BYTES", 30)
    assert post(acme, lines({}, {})).status_code == 413
    assert post(acme, iter([lines({}), lines({})])).status_code == 413
    monkeypatch.undo()
    answer = acme.post("/v1/batches", content=b" " * (16 * 2**20 + 1), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    answer = acme.post("/v1/batches", content=b"prompt", headers={"Content-Type": "text/csv"})
    assert answer.status_code == 415


def test_a_batch_that_the_line_has_no_room_for_is_refused_whole(acme: httpx.Client) -> None:
    answer = post(acme, lines(*[{}] * 61))
    assert (answer.status_code, answer.json()["code"]) == (429, "line_full")
    assert waiting(acme) == 0


def test_a_compressed_upload_is_refused_as_what_it_is(acme: httpx.Client) -> None:
    answer = post(acme, gzip.compress(lines({})), **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "Content-Encoding" in answer.json()["detail"]
    assert post(acme, lines({}), **{"Content-Encoding": "identity"}).status_code == 202


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("include=cancelled", "did you mean canceled?"),
        ("include=canceled,", "is not known"),
        ("include=canceled&include=expired", "must be given once"),
    ],
)
def test_a_code_to_retry_that_does_not_exist_is_named(query: str, words: str, acme: httpx.Client) -> None:
    batch = post(acme, lines({})).json()["id"]
    answer = acme.post(f"/v1/batches/{batch}/retry?{query}")
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["loc"] == ["query", "include"]
    assert words in error["msg"]


def test_nobody_sees_another_tenants_batch(acme: httpx.Client, umbra: httpx.Client) -> None:
    batch = post(acme, lines({})).json()["id"]
    for path in ("", "/results", "/deliveries"):
        assert umbra.get(f"/v1/batches/{batch}{path}").status_code == 404
    for path in ("/cancel", "/retry"):
        assert umbra.post(f"/v1/batches/{batch}{path}").status_code == 404
    assert umbra.get("/v1/batches").json() == {"data": [], "next_cursor": None}
    assert umbra.get(f"/v1/jobs?batch_id={batch}").json()["data"] == []
    assert acme.get("/v1/batches/nonsense").status_code == 404


def test_batches_are_listed_newest_first_page_by_page(acme: httpx.Client) -> None:
    ids = [post(acme, lines({})).json()["id"] for _ in range(3)]
    first = acme.get("/v1/batches?limit=2").json()
    rest = acme.get(f"/v1/batches?limit=2&cursor={first['next_cursor']}").json()
    assert sorted(batch["id"] for batch in [*first["data"], *rest["data"]]) == sorted(ids)
    assert (len(first["data"]), rest["next_cursor"]) == (2, None)


def test_cancel_ends_what_waits_and_the_results_say_so_in_order(acme: httpx.Client) -> None:
    batch = post(acme, lines({"custom_id": "a"}, {}, {"custom_id": "c"})).json()["id"]
    assert acme.get(f"/v1/batches/{batch}/results").text == ""
    answer = acme.post(f"/v1/batches/{batch}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["counts"]["canceled"]) == (200, "canceled", 3)
    again = acme.post(f"/v1/batches/{batch}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "already_finished")
    results = acme.get(f"/v1/batches/{batch}/results")
    assert results.headers["Content-Type"].startswith("application/x-ndjson")
    read = [json.loads(line) for line in results.text.splitlines()]
    assert [(item["line"], item["custom_id"], item["job"]["status"]) for item in read] == [
        (1, "a", "canceled"),
        (2, None, "canceled"),
        (3, "c", "canceled"),
    ]
    after = acme.get(f"/v1/batches/{batch}/results?after=2").text.splitlines()
    assert [json.loads(line)["line"] for line in after] == [3]


def test_retry_answers_how_many_go_on_and_what_that_costs(acme: httpx.Client) -> None:
    batch = post(acme, lines({"max_images": 2}, {})).json()["id"]
    acme.post(f"/v1/batches/{batch}/cancel")
    nothing = BatchRetry.model_validate(acme.post(f"/v1/batches/{batch}/retry").json())
    assert (nothing.retried.new_attempts, nothing.cost.estimated, nothing.batch.status) == (0, 0, "canceled")
    retried = BatchRetry.model_validate(acme.post(f"/v1/batches/{batch}/retry?include=canceled").json())
    assert (retried.retried.new_attempts, retried.cost.estimated) == (2, 0.12)
    assert (retried.batch.status, retried.batch.counts.queued) == ("running", 2)
    wrong = acme.post(f"/v1/batches/{batch}/retry?include=no+such")
    assert wrong.status_code == 422
