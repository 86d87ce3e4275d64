"""Following a job by Server-Sent Events: live, replayed, and closed after the terminal one."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from api.routes import events
from tests.support.api import RunningApi
from tests.support.by_hand import ByHand
from tests.support.waiting import wait_until


def post(client: httpx.Client) -> str:
    return str(client.post("/v1/jobs", json={"prompt": "x"}).json()["id"])


def parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Read the stream as the standard says: fields until a blank line; comments count for nothing."""
    event: dict[str, Any] = {}
    for line in lines:
        if not line and event:
            yield event | {"data": json.loads(event["data"])}
            event = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value


def follow(client: httpx.Client, job_id: str, last: str | None = None) -> list[dict[str, Any]]:
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        return list(parsed(answer.iter_lines()))


def statuses(found: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["status"] for event in found]


def test_a_follower_sees_every_change_live_and_the_stream_ends_with_the_terminal_one(
    acme: httpx.Client, api: RunningApi, by_hand: ByHand
) -> None:
    job_id = post(acme)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow, acme, job_id)
        wait_until(lambda: api.watches == 1, what="the follower")
        by_hand.generate(job_id)
        by_hand.complete(job_id, ["a.png"])
        found = following.result(20)
    assert statuses(found) == ["queued", "submitting", "generating", "storing", "completed"]
    assert [event["id"] for event in found] == ["1-1", "1-2", "1-3", "1-4", "1-5"]
    assert {event["event"] for event in found} == {"job.status"}
    assert all(event["data"]["job_id"] == job_id and event["data"]["attempt"] == 1 for event in found)
    assert [event["data"]["at"] for event in found] == sorted(event["data"]["at"] for event in found)
    wait_until(lambda: api.watches == 0, what="the watch to end")


def test_a_finished_job_is_replayed_from_where_the_follower_was(acme: httpx.Client, by_hand: ByHand) -> None:
    job_id = post(acme)
    by_hand.generate(job_id)
    by_hand.fail(job_id)
    assert statuses(follow(acme, job_id)) == ["queued", "submitting", "generating", "failed"]
    assert statuses(follow(acme, job_id, "1-2")) == ["generating", "failed"]
    assert statuses(follow(acme, job_id, "no id")) == ["queued", "submitting", "generating", "failed"]


def test_who_has_seen_the_terminal_event_is_told_not_to_come_back(acme: httpx.Client) -> None:
    job_id = post(acme)
    acme.post(f"/v1/jobs/{job_id}/cancel")
    assert acme.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "1-2"}).status_code == 204


def test_a_retry_goes_on_in_the_same_history(acme: httpx.Client) -> None:
    job_id = post(acme)
    acme.post(f"/v1/jobs/{job_id}/cancel")
    acme.post(f"/v1/jobs/{job_id}/retry")
    acme.post(f"/v1/jobs/{job_id}/cancel")
    found = follow(acme, job_id, "1-2")
    assert [(event["id"], event["data"]["status"]) for event in found] == [("2-3", "queued"), ("2-4", "canceled")]


def test_a_silent_stream_is_kept_alive_by_comments(
    acme: httpx.Client, api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.01)
    with acme.stream("GET", f"/v1/jobs/{post(acme)}/events") as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": keep-alive"
    wait_until(lambda: api.watches == 0, what="the server to notice that the follower left")


def test_many_followers_share_one_subscription(acme: httpx.Client, api: RunningApi, redis_client: Any) -> None:
    job_id = post(acme)
    with ThreadPoolExecutor(20) as pool:
        following = [pool.submit(follow, acme, job_id) for _ in range(20)]
        wait_until(lambda: api.watches == 20, what="the followers")
        assert redis_client.pubsub_numsub("{darkroom}:changes") == [("{darkroom}:changes", 1)]
        acme.post(f"/v1/jobs/{job_id}/cancel")
        assert {tuple(statuses(one.result(20))) for one in following} == {("queued", "canceled")}


def test_a_stream_is_not_started_for_head(acme: httpx.Client, api: RunningApi) -> None:
    answer = acme.head(f"/v1/jobs/{post(acme)}/events")
    assert (answer.status_code, answer.headers["content-type"][:17]) == (200, "text/event-stream")
    assert api.watches == 0
