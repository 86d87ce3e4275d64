"""What reached nobody is listed, counted, and sent again by its owner or an operator; failing hosts show themselves."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from darkroom.store import keys
from tests.support.by_hand import ByHand

BAD = "https://bad.example/hook"


def moment(seconds: int) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def lose(client: httpx.Client, by_hand: ByHand, *, url: str = BAD, status: str = "exhausted") -> str:
    """End a job whose webhook reaches nobody, and give the delivery."""
    job_id = client.post("/v1/jobs", json={"prompt": "x", "webhook": {"url": url}}).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    return by_hand.end_delivery(job_id, status)


def test_a_job_says_that_its_result_reached_nobody(acme: httpx.Client, by_hand: ByHand) -> None:
    job_id = acme.post("/v1/jobs", json={"prompt": "x", "webhook": {"url": BAD}}).json()["id"]
    assert acme.get(f"/v1/jobs/{job_id}").json()["webhook_status"] is None
    acme.post(f"/v1/jobs/{job_id}/cancel")
    assert acme.get(f"/v1/jobs/{job_id}").json()["webhook_status"] == "pending"
    by_hand.end_delivery(job_id, "exhausted")
    assert acme.get(f"/v1/jobs/{job_id}").json()["webhook_status"] == "exhausted"


def test_undelivered_is_listed_by_page_and_filter_and_counted(
    acme: httpx.Client, umbra: httpx.Client, operator: httpx.Client, by_hand: ByHand
) -> None:
    ids = [lose(acme, by_hand), lose(acme, by_hand, url="https://other.example/x", status="gone")]
    foreign = lose(umbra, by_hand)

    def listed(client: httpx.Client, **query: object) -> list[str]:
        answer = client.get("/v1/deliveries", params=query)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["data"]]

    assert listed(acme) == ids
    assert listed(umbra) == [foreign]
    assert listed(operator) == [*ids, foreign]
    assert listed(operator, tenant="umbra") == [foreign]
    assert listed(acme, status="gone") == ids[1:]
    assert listed(acme, host="other.example") == ids[1:]
    assert listed(acme, since=moment(60)) == []
    assert listed(acme, since=moment(-60)) == ids
    first = acme.get("/v1/deliveries?limit=1").json()
    rest = acme.get("/v1/deliveries", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [first["data"][0]["id"], rest["data"][0]["id"]] == ids
    assert "darkroom_deliveries_undelivered 3.0" in acme.get("/metrics").text


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("status=delivered", "status"),
        ("since=soon", "since"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=umbra.1.dlv_01HZZZZZZZZZZZZZZZZZZZZZZZ", "cursor"),
        ("statuses=gone", "statuses"),
        ("host=", "host"),
    ],
)
def test_a_wrong_query_is_refused(acme: httpx.Client, query: str, loc: str) -> None:
    answer = acme.get(f"/v1/deliveries?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", loc])


def test_recovery_sends_a_tenants_own_again(
    acme: httpx.Client, umbra: httpx.Client, operator: httpx.Client, by_hand: ByHand
) -> None:
    mine, gone, foreign = lose(acme, by_hand), lose(acme, by_hand, status="gone"), lose(umbra, by_hand)
    answer = acme.post("/v1/deliveries/recover", json={"since": moment(-60)})
    assert (answer.status_code, answer.json()) == (202, {"recovered": 1})
    assert [row["id"] for row in operator.get("/v1/deliveries").json()["data"]] == [gone, foreign]
    assert acme.post("/v1/deliveries/recover", json={"since": moment(-60)}).json() == {"recovered": 0}
    both = {"since": moment(-60), "statuses": ["exhausted", "gone"], "host": "bad.example"}
    assert operator.post("/v1/deliveries/recover", json=both | {"tenant": "umbra"}).json() == {"recovered": 1}
    assert operator.post("/v1/deliveries/recover", json=both).json() == {"recovered": 1}
    assert mine not in (gone, foreign)


@pytest.mark.parametrize(
    ("body", "status", "loc"),
    [
        ({}, 422, "since"),
        ({"since": "soon"}, 422, "since"),
        ({"since": 1795690337}, 422, "since"),
        ({"since": "1795690337"}, 422, "since"),
        ({"since": "2026-11-25T08:00:00Z", "host": "https://x.example/"}, 422, "host"),
        ({"since": "2026-11-25T08:00:00Z", "statuses": ["delivered"]}, 422, "statuses"),
        ({"since": "2026-11-25T08:00:00Z", "statuses": []}, 422, "statuses"),
        ({"since": "2026-11-25T08:00:00Z", "hosts": "x"}, 422, "hosts"),
    ],
)
def test_a_recovery_that_is_not_clear_is_refused(
    acme: httpx.Client, body: dict[str, object], status: int, loc: str
) -> None:
    answer = acme.post("/v1/deliveries/recover", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"][:2]) == (status, ["body", loc])


def test_another_tenants_is_not_a_tenants_to_see_or_send(acme: httpx.Client, umbra: httpx.Client) -> None:
    assert acme.get("/v1/deliveries?tenant=umbra").status_code == 403
    body = {"since": moment(-60), "tenant": "umbra"}
    assert acme.post("/v1/deliveries/recover", json=body).status_code == 403
    assert umbra.get("/v1/deliveries?tenant=umbra").status_code == 200


def test_operators_see_hosts_that_fail(
    acme: httpx.Client, operator: httpx.Client, by_hand: ByHand, redis_client: Any
) -> None:
    def told() -> str:
        job_id = acme.post("/v1/jobs", json={"prompt": "x", "webhook": {"url": BAD}}).json()["id"]
        acme.post(f"/v1/jobs/{job_id}/cancel")
        return str(job_id)

    for _ in range(5):
        job_id = told()
        by_hand.end_delivery(job_id, "exhausted", heard="failed")
    (host,) = operator.get("/v1/webhooks/hosts").json()["data"]
    assert (host["host"], host["breaker"], host["attempts_under_way"]) == ("bad.example", "open", 0)
    assert host["failing_since"]
    assert host["next_probe_at"] is None
    assert "darkroom_webhook_hosts_failing 0.0" in acme.get("/metrics").text
    redis_client.hset(keys.host("bad.example acme"), "until_ms", int(time.time() * 1000) + 3_600_000)
    told()
    by_hand.sweep()
    (host,) = operator.get("/v1/webhooks/hosts").json()["data"]
    assert host["deliveries_waiting"] == 1
    assert host["next_probe_at"]
    assert acme.get("/v1/webhooks/hosts").status_code == 403
    assert "darkroom_webhook_hosts_failing 1.0" in acme.get("/metrics").text
