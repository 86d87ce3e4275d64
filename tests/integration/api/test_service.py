"""Keys, the line, lanes, usage, deliveries, health, metrics, documents: what surrounds the jobs."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import redis

from tests.support.api import RunningApi
from tests.support.by_hand import ByHand

GUARDED = ["/v1/jobs", "/v1/jobs/x", "/v1/status", "/v1/usage", "/v1/nothing"]
OPEN = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"]


def post(client: httpx.Client, **fields: Any) -> str:
    return str(client.post("/v1/jobs", json={"prompt": "x", **fields}).json()["id"])


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic a2V5", "Bearer", "key-of-acme", "Bearer é"])
def test_nothing_is_told_without_a_key(api: RunningApi, path: str, header: str | None) -> None:
    with api.client() as client:
        answer = client.get(path, headers=[(b"Authorization", header.encode("latin-1"))] if header else [])
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "wrong" not in answer.text
    known_way = header in ("Bearer wrong", "Bearer é")
    assert (answer.json()["detail"] == "the API key is not known") is known_way


@pytest.mark.parametrize("day", ["abc", "2026-11", "1795690337"])
def test_a_day_of_usage_that_is_none_is_refused_with_an_example(acme: httpx.Client, day: str) -> None:
    answer = acme.get(f"/v1/usage?from={day}")
    assert answer.status_code == 422
    assert "2026-11-22" in answer.json()["detail"]


@pytest.mark.parametrize("path", OPEN)
def test_what_is_open_needs_no_key(api: RunningApi, path: str) -> None:
    with api.client() as client:
        assert client.get(path).status_code == 200


def test_the_scheme_of_a_key_is_read_in_any_case(api: RunningApi) -> None:
    with api.client() as client:
        assert client.get("/v1/jobs", headers={"Authorization": "bearer  key-of-acme"}).status_code == 200


def test_an_operator_may_post_under_its_own_name(operator: httpx.Client) -> None:
    post(operator)
    assert [tenant["tenant"] for tenant in operator.get("/v1/status").json()["line"]["tenants"]] == ["ops"]


def test_the_status_shows_lines_lanes_and_workers(
    acme: httpx.Client, umbra: httpx.Client, operator: httpx.Client, by_hand: ByHand, redis_client: redis.Redis
) -> None:
    sign = {"alive_at_ms": 1_700_000_000_000, "queues": ["submit"], "pid": 1, "host": "h", "in_flight": 0}
    redis_client.hset("{darkroom}:workers", "worker@h", json.dumps(sign))
    by_hand.generate(post(acme, max_images=4))
    post(acme, priority="high")
    post(umbra)
    shown = operator.get("/v1/status").json()
    high, normal = {"high": 1, "normal": 0, "low": 0}, {"high": 0, "normal": 1, "low": 0}
    assert shown["line"] == {
        "depth": 2,
        "tenants": [
            {"tenant": "acme", "depth": 1, "images": 1, "by_priority": high, "held": None},
            {"tenant": "umbra", "depth": 1, "images": 1, "by_priority": normal, "held": None},
        ],
    }
    (lane,) = shown["lanes"]
    assert (lane["name"], lane["state"], lane["reason"], lane["resumes_at"]) == ("default", "open", None, None)
    assert lane["limits"] == {"images_per_minute": 5_000, "max_concurrency": 5_000}
    assert (lane["in_flight"], lane["images_last_minute"]) == (1, 4)
    assert shown["workers"] == [{"name": "worker@h", "alive_at": "2023-11-14T22:13:20.000Z", "queues": ["submit"]}]
    assert shown["simulated"] is False
    own = umbra.get("/v1/status").json()["line"]
    assert (own["depth"], [tenant["tenant"] for tenant in own["tenants"]]) == (1, ["umbra"])


def test_operators_pause_and_resume_a_lane(acme: httpx.Client, operator: httpx.Client, by_hand: ByHand) -> None:
    by_hand.open_lane()
    for action in ("pause", "resume"):
        refused = acme.post(f"/v1/lanes/default/{action}")
        assert (refused.status_code, refused.json()["code"]) == (403, "operators_only")
        assert operator.post(f"/v1/lanes/other/{action}").status_code == 404
    paused = operator.post("/v1/lanes/default/pause")
    assert (paused.status_code, paused.json()["state"], paused.json()["reason"]) == (200, "paused", "operator")
    assert operator.post("/v1/lanes/default/pause").status_code == 200
    assert acme.get("/v1/status").json()["lanes"][0]["reason"] == "operator"
    assert operator.post("/v1/lanes/default/resume").json()["state"] == "open"


def limits_of(client: httpx.Client) -> tuple[dict[str, int], dict[str, int]]:
    (lane,) = client.get("/v1/status").json()["lanes"]
    return lane["limits"], lane["configured_limits"]


def test_operators_change_limits_while_it_runs_and_null_takes_the_configured_one(
    acme: httpx.Client, operator: httpx.Client, by_hand: ByHand
) -> None:
    by_hand.open_lane()
    assert acme.post("/v1/lanes/default/limits", json={"images_per_minute": 7}).status_code == 403
    assert operator.post("/v1/lanes/other/limits", json={"images_per_minute": 7}).status_code == 404
    changed = operator.post("/v1/lanes/default/limits", json={"images_per_minute": 7})
    assert (changed.status_code, changed.json()["limits"]) == (200, {"images_per_minute": 7, "max_concurrency": 5_000})
    operator.post("/v1/lanes/default/limits", json={"max_concurrency": 3})
    configured = {"images_per_minute": 5_000, "max_concurrency": 5_000}
    assert limits_of(acme) == ({"images_per_minute": 7, "max_concurrency": 3}, configured)
    operator.post("/v1/lanes/default/limits", json={"images_per_minute": None, "max_concurrency": None})
    assert limits_of(acme) == (configured, configured)


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"images_per_minute": 0}, ["body", "images_per_minute"]),
        ({"images_per_minute": "7"}, ["body", "images_per_minute"]),
        ({"images_per_minute": 7, "max_concurrency": True}, ["body", "max_concurrency"]),
        ({"max_concurency": 3}, ["body", "max_concurency"]),
        ({}, ["body"]),
    ],
)
def test_limits_that_make_no_sense_are_refused_and_change_nothing(
    operator: httpx.Client, by_hand: ByHand, body: dict[str, Any], loc: list[str]
) -> None:
    by_hand.open_lane()
    refused = operator.post("/v1/lanes/default/limits", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, loc)
    limits, configured = limits_of(operator)
    assert limits == configured


def test_metrics_say_why_a_lane_is_paused(operator: httpx.Client, by_hand: ByHand) -> None:
    by_hand.open_lane()
    operator.post("/v1/lanes/default/pause")
    text = operator.get("/metrics").text
    assert 'darkroom_lane_paused{lane="default",reason="operator"} 1.0' in text
    assert 'darkroom_lane_paused{lane="default",reason="storage"} 0.0' in text


def test_usage_counts_by_day_and_tenant(
    acme: httpx.Client, umbra: httpx.Client, operator: httpx.Client, by_hand: ByHand
) -> None:
    job_id = post(acme, max_images=3)
    by_hand.generate(job_id)
    by_hand.complete(job_id, ["a.png", "b.png"])
    post(umbra, max_images=2)
    today = datetime.now(UTC).date()
    mine = acme.get("/v1/usage").json()
    assert len(mine["data"]) == 30
    assert mine["data"][-1]["date"] == today.isoformat()
    wanted = {"jobs": 1, "images_requested": 3, "images_delivered": 2, "completed": 1, "failed": 0, "spent_usd": 0.12}
    assert wanted.items() <= mine["total"].items()
    assert wanted.items() <= mine["data"][-1].items()
    assert operator.get("/v1/usage").json()["total"]["images_requested"] == 5
    assert operator.get("/v1/usage?tenant=umbra").json()["total"]["images_requested"] == 2
    assert acme.get("/v1/usage?tenant=umbra").json()["code"] == "operators_only"
    assert acme.get("/v1/usage?tenant=acme").json()["total"]["images_requested"] == 3
    before = acme.get(f"/v1/usage?from={today - timedelta(days=9)}&to={today - timedelta(days=5)}").json()
    assert (len(before["data"]), before["total"]["jobs"]) == (5, 0)


@pytest.mark.parametrize("query", ["from=2026-02-02&to=2026-02-01", "from=x", "to=2026-02-30", "from=1970-01-01"])
def test_days_that_make_no_sense_are_refused(acme: httpx.Client, query: str) -> None:
    answer = acme.get(f"/v1/usage?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


def test_deliveries_are_listed_and_sent_again(
    acme: httpx.Client, umbra: httpx.Client, by_hand: ByHand, redis_client: redis.Redis
) -> None:
    job_id = post(acme, webhook={"url": "https://example.com/hook"})
    assert acme.get(f"/v1/jobs/{job_id}/deliveries").json() == {"data": []}
    by_hand.generate(job_id)
    by_hand.fail(job_id)
    (delivery,) = acme.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
    assert (delivery["type"], delivery["url"], delivery["status"]) == (
        "job.failed",
        "https://example.com/hook",
        "pending",
    )
    assert delivery["next_attempt_at"]
    assert (delivery["id"][:4], delivery["event_id"][:4], delivery["attempts"]) == ("dlv_", "evt_", [])
    assert umbra.post(f"/v1/deliveries/{delivery['id']}/redeliver").status_code == 404
    assert acme.post("/v1/deliveries/dlv_x/redeliver").status_code == 404
    redis_client.hset(f"{{darkroom}}:delivery:{delivery['id']}", "status", "exhausted")
    again = acme.post(f"/v1/deliveries/{delivery['id']}/redeliver")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert again.json()["event_id"] == delivery["event_id"]
    assert again.json()["next_attempt_at"]


def test_metrics_tell_of_the_line_and_the_lanes(acme: httpx.Client, by_hand: ByHand) -> None:
    by_hand.generate(post(acme))
    post(acme)
    text = acme.get("/metrics").text
    for line in (
        "darkroom_store_up 1.0",
        "darkroom_line_depth 1.0",
        'darkroom_line_tenant_depth{tenant="acme"} 1.0',
        'darkroom_lane_state{lane="default",state="open"} 1.0',
        'darkroom_lane_in_flight{lane="default"} 1.0',
        'darkroom_events_total{kind="spent_images"} 1.0',
        "darkroom_workers_alive 0.0",
    ):
        assert line in text.splitlines()
    assert 'route="/v1/jobs"' in text
    assert "job_0" not in text


def test_a_request_id_is_given_back_or_made(acme: httpx.Client) -> None:
    assert acme.get("/healthz", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = [acme.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] for given in ("", "x" * 129)]
    assert all(request_id.startswith("req_") for request_id in made)
    assert len(set(made)) == 2


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("PUT", "/v1/jobs", 405)])
def test_the_frameworks_errors_are_problems_too(acme: httpx.Client, method: str, path: str, status: int) -> None:
    answer = acme.request(method, path)
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail", "code"}


def test_other_methods_are_answered_sanely(acme: httpx.Client) -> None:
    assert acme.put("/v1/jobs").headers["allow"] == "GET, POST, HEAD, OPTIONS"
    options = acme.options("/v1/jobs")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, POST, HEAD, OPTIONS")
    head, get = acme.head("/v1/jobs"), acme.get("/v1/jobs")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert acme.get("/v1/jobs/").status_code == 404


def test_the_openapi_document_says_what_is_needed(acme: httpx.Client) -> None:
    document = acme.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"apiKey": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    posting = document["paths"]["/v1/jobs"]["post"]
    content = posting["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/JobRequest"}
    assert content["examples"]["comic"]["value"]["max_images"] == 4
    assert {"202", "400", "401", "413", "415", "422", "429", "503"} <= set(posting["responses"])
    names = set(document["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document))) <= names
    assert "HTTPValidationError" not in names


def test_the_examples_of_the_document_are_accepted(acme: httpx.Client) -> None:
    document = acme.get("/openapi.json").json()
    examples = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        assert acme.post("/v1/jobs", json=example["value"]).status_code == 202


def test_the_docs_need_no_other_server(acme: httpx.Client) -> None:
    page = acme.get("/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    assert "//" not in "".join(addresses)
    for address in addresses:
        assert acme.get(address).status_code == 200
