"""Budgets over HTTP: what is refused and with which code, what waits, and how the day stands."""

from collections.abc import Iterator

import httpx
import pytest
import redis

from api.app import create_app
from deploy.embedded.s3 import EmbeddedS3
from tests.integration.api.conftest import BUCKET
from tests.support.api import RunningApi, running_api
from tests.support.by_hand import ByHand
from tests.support.settings import ACME, OPERATOR, service_settings
from tests.support.waiting import wait_until

CAPS = "{darkroom}:caps"


@pytest.fixture(params=["refuse"])
def capped(
    request: pytest.FixtureRequest,
    api_server: RunningApi,
    redis_client: redis.Redis,
    redis_url: str,
    s3_server: EmbeddedS3,
) -> Iterator[RunningApi]:
    """Run an API under which acme may spend 0.20 USD a day; `api_server` has made the bucket."""
    settings = service_settings(
        redis_url, s3=s3_server, bucket=BUCKET, daily_budget_text="acme:0.21", on_budget=request.param
    )
    with running_api(create_app(settings)) as running:
        wait_until(lambda: redis_client.hgetall(CAPS) == {"acme": "5"}, what="the budgets to be known")
        yield running


@pytest.fixture
def acme(capped: RunningApi) -> Iterator[httpx.Client]:
    with capped.client(ACME) as client:
        yield client


def post(client: httpx.Client, images: int, key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/v1/jobs", json={"prompt": "a fox", "max_images": images}, headers=headers)


def test_job_without_room_in_todays_budget_is_refused_until_midnight(acme: httpx.Client) -> None:
    assert post(acme, 3, "first").status_code == 202
    refused = post(acme, 3)
    assert (refused.status_code, refused.json()["code"]) == (429, "budget_exceeded")
    assert refused.headers["content-type"] == "application/problem+json"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert post(acme, 2).status_code == 202
    again = post(acme, 3, "first")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")


@pytest.mark.parametrize("capped", ["wait", "refuse"], indirect=True)
def test_job_that_no_day_can_pay_for_is_refused_for_good(acme: httpx.Client) -> None:
    refused = post(acme, 6)
    assert (refused.status_code, refused.json()["code"]) == (422, "exceeds_budget")
    assert "0.24 USD" in refused.json()["detail"]
    assert "retry-after" not in refused.headers


@pytest.mark.parametrize("capped", ["wait"], indirect=True)
def test_job_without_room_waits_and_says_so(acme: httpx.Client, by_hand: ByHand) -> None:
    by_hand.admit(post(acme, 4).json()["id"])
    waiting = post(acme, 4)
    assert (waiting.status_code, waiting.json()["held"]) == (202, None)
    with pytest.raises(AssertionError):
        by_hand.admit(waiting.json()["id"])
    assert acme.get(f"/v1/jobs/{waiting.json()['id']}").json()["held"] == "budget"
    assert post(acme, 1).json()["held"] == "budget"
    [tenant] = acme.get("/v1/status").json()["line"]["tenants"]
    assert (tenant["held"], tenant["images"]) == ("budget", 5)
    assert "darkroom_budget_held_tenants 1.0" in acme.get("/metrics").text


def test_usage_shows_todays_budget_of_one_tenant(acme: httpx.Client, capped: RunningApi, by_hand: ByHand) -> None:
    by_hand.generate(post(acme, 3).json()["id"])
    shown = acme.get("/v1/usage").json()
    assert (shown["budget_usd"], shown["budget_left_usd"]) == (0.2, 0.08)
    assert (shown["total"]["spent_usd"], shown["total"]["refundable_usd"]) == (0.12, 0)
    with capped.client(OPERATOR) as operator:
        assert operator.get("/v1/usage?tenant=acme").json()["budget_left_usd"] == 0.08
        assert operator.get("/v1/usage?tenant=umbra").json()["budget_usd"] is None


def test_usage_refuses_a_parameter_that_it_does_not_know(acme: httpx.Client) -> None:
    refused = acme.get("/v1/usage?form=2026-01-01&x=1")
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
    assert [error["loc"] for error in refused.json()["errors"]] == [["query", "form"], ["query", "x"]]
    assert "did you mean from?" in refused.json()["errors"][0]["msg"]
