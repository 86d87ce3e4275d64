"""Every call of the vendor's API, as a client sees it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from simulator.testing import MODEL_PATH, RunningSimulator
from tests.simulator.helpers import Client


def test_a_prediction_goes_from_created_to_completed_with_one_picture_per_panel(client: Client) -> None:
    answer = client.submit("a fox in three panels", size="2560*1440", max_images=3).json()
    assert answer["data"]["status"] == "created"
    done = client.done(answer["data"]["id"])
    assert done["status"] == "completed"
    assert done["has_nsfw_contents"] == [False] * 3
    assert done["executionTime"] == done["timings"]["inference"] > 0
    assert {client.picture(url).size for url in done["outputs"]} == {(2560, 1440)}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "a", "size": "2048x2048"}, "size"),
        ({"prompt": "a", "size": "1439*4000"}, "between 1440 and 4096"),
        ({"prompt": "a", "size": "4097*2048"}, "between 1440 and 4096"),
        ({"prompt": "a", "size": "1440*1440"}, "total pixels"),
        ({"prompt": "a", "max_images": 0}, "between 1 and 15"),
        ({"prompt": "a", "max_images": 16}, "between 1 and 15"),
        ({"prompt": "a", "max_images": True}, "integer"),
        ({"prompt": "a", "max_images": 2.0}, "integer"),
        ({"prompt": "a", "enable_sync_mode": "yes"}, "boolean"),
        ({"prompt": "a", "seed": 4}, "unknown field 'seed'"),
        ({"prompt": "a [[sim:no_such_thing]]"}, "unknown marker"),
    ],
)
def test_a_bad_parameter_is_refused_with_words_and_costs_nothing(
    client: Client, sim: RunningSimulator, body: dict[str, Any], word: str
) -> None:
    answer = client.http.post(MODEL_PATH, json=body)
    assert answer.status_code == 400
    assert word in answer.text
    assert sim.ledger()["totals"]["predictions"] == 0


@pytest.mark.parametrize("body", [b"{not json", b"[1]", b'"text"', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(client: Client, body: bytes) -> None:
    assert client.http.post(MODEL_PATH, content=body).status_code == 400


@pytest.mark.parametrize("size", ["2560*1440", "1440*2560", "4096*4096", "2048*2048"])
def test_sizes_at_the_edges_are_accepted(client: Client, size: str) -> None:
    assert client.submit(size=size).status_code == 200


def test_without_a_key_every_call_answers_401(sim: RunningSimulator) -> None:
    with httpx.Client(base_url=sim.url) as anonymous:
        assert anonymous.post(MODEL_PATH, json={"prompt": "a"}).status_code == 401
        assert anonymous.get("/api/v3/balance", headers={"Authorization": "Basic abc"}).status_code == 401
        assert anonymous.post("/api/v3/no/such/model", json={}).status_code == 401


def test_only_configured_keys_are_let_in(sim: RunningSimulator, as_key: Callable[[str], Client]) -> None:
    sim.settings(keys=["right"])
    assert as_key("right").submit().status_code == 200
    assert as_key("wrong").submit().status_code == 401


def test_accounts_do_not_see_each_other(as_key: Callable[[str], Client]) -> None:
    mine, other = as_key("mine"), as_key("other")
    prediction_id = mine.created(max_images=2)
    assert other.http.get(f"/api/v3/predictions/{prediction_id}/result").status_code == 404
    assert other.list()["items"] == []
    assert mine.balance() == pytest.approx(other.balance() - 0.08)


def test_unknown_models_and_predictions_answer_404(client: Client) -> None:
    assert client.http.post("/api/v3/some/other-model", json={"prompt": "a"}).status_code == 404
    assert client.http.get(f"/api/v3/predictions/{'0' * 32}/result").status_code == 404
    assert client.http.get(f"/api/v3/predictions/{client.created()}").status_code == 404, "only …/result exists"


def test_the_list_shows_newest_first_and_pages(client: Client) -> None:
    ids = [client.created(f"fox {number}") for number in range(5)]
    first, second = client.list(page=1, page_size=3), client.list(page=2, page_size=3)
    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert first["total"] == 5
    assert first["items"][0]["input"] == {"prompt": "fox 4", "size": "2048*2048", "max_images": 1}


def test_the_list_filters_by_status_model_and_time(client: Client) -> None:
    failed = client.created("a [[sim:fail=5000]]")
    client.done(client.created("b"))
    client.done(failed)
    assert [item["id"] for item in client.list(status="failed")["items"]] == [failed]
    assert client.list(model="some/other")["items"] == []
    oldest = client.look(failed)["created_at"]
    assert client.list(created_before=oldest)["total"] == 1
    assert client.list(created_after=oldest)["total"] == 2
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert client.list(created_after=later)["items"] == []


@pytest.mark.parametrize("query", [{"page": 0}, {"page_size": 0}, {"page_size": 101}, {"created_after": "yesterday"}])
def test_a_bad_list_query_answers_400(client: Client, query: dict[str, Any]) -> None:
    assert client.http.post("/api/v3/predictions", json=query).status_code == 400


def test_the_list_can_hide_inputs_name_them_differently_and_leave_the_total_out(
    client: Client, sim: RunningSimulator
) -> None:
    client.created()
    sim.settings(list_input="inputs")
    assert "inputs" in client.list()["items"][0]
    sim.settings(list_input="none", list_total=False)
    listed = client.list()
    assert "total" not in listed
    assert not {"input", "inputs"} & set(listed["items"][0])


def test_a_new_prediction_appears_in_the_list_only_after_the_delay(client: Client, sim: RunningSimulator) -> None:
    sim.settings(list_delay_s=3600)
    client.created()
    assert client.list()["items"] == []
    sim.settings(list_delay_s=0)
    assert client.list()["total"] == 1


def test_a_deleted_prediction_stays_billed_and_leaves_the_list(client: Client, sim: RunningSimulator) -> None:
    prediction_id = client.created()
    answer = client.http.delete(f"/api/v3/predictions/{prediction_id}").json()
    assert answer["data"] == {"id": prediction_id, "status": "deleted"}
    assert client.look(prediction_id)["status"] == "deleted"
    assert client.list()["items"] == []
    assert sim.ledger()["totals"]["charged_usd"] == 0.04
    sim.settings(deleted_style="404")
    assert client.http.get(f"/api/v3/predictions/{prediction_id}/result").status_code == 404


def test_the_price_is_per_requested_image(client: Client) -> None:
    query = {"model_id": "bytedance/seedream-v4.5/sequential", "inputs": {"prompt": "a", "max_images": 15}}
    quote = client.http.post("/api/v3/model/price", json=query).json()["data"]
    assert quote["price"] == quote["discounted_price"] == 0.6
    assert quote["currency"] == "USD"


def test_billing_records_show_the_charge_and_the_refund(client: Client) -> None:
    prediction_id = client.created("a [[sim:fail=1200]]", max_images=2)
    client.done(prediction_id)
    search = {"page": 1, "page_size": 10, "prediction_uuids": [prediction_id]}
    records = client.http.post("/api/v3/billings/search", json=search).json()["data"]["items"]
    assert [(record["billing_type"], record["price"]) for record in records] == [("refund", 0.08), ("deduct", 0.08)]
    deducted = client.http.post("/api/v3/billings/search", json=search | {"billing_type": "deduct"}).json()["data"]
    assert deducted["total"] == 1


def test_the_webhook_secret_belongs_to_the_key(as_key: Callable[[str], Client]) -> None:
    secrets = [as_key(key).http.get("/api/v3/webhook/secret").json()["data"]["secret"] for key in ("a", "b", "a")]
    assert secrets[0].startswith("whsec_")
    assert secrets[0] == secrets[2] != secrets[1]


def test_sync_mode_holds_the_submit_until_there_is_a_result(client: Client) -> None:
    data = client.submit(enable_sync_mode=True, max_images=2).json()["data"]
    assert data["status"] == "completed"
    assert len(data["outputs"]) == 2


def test_sync_mode_gives_up_while_the_task_goes_on(client: Client, sim: RunningSimulator) -> None:
    sim.settings(sync_wait_s=0.02)
    data = client.submit("slow [[sim:inference=0.3]]", enable_sync_mode=True).json()["data"]
    assert (data["status"], data["code"]) == ("processing", 5004)
    assert client.done(data["id"])["status"] == "completed"
    sim.settings(sync_timeout_style="504")
    assert client.submit("slow [[sim:inference=0.3]]", enable_sync_mode=True).status_code == 504
    assert sim.ledger()["totals"]["predictions"] == 2


def test_base64_output_is_a_picture_as_text(client: Client, sim: RunningSimulator) -> None:
    data = client.submit(enable_base64_output=True, enable_sync_mode=True).json()["data"]
    assert data["outputs"][0].startswith("iVBOR")
    sim.settings(base64_style="data_uri")
    assert client.look(data["id"])["outputs"][0].startswith("data:image/png;base64,iVBOR")


def test_upstreams_clock_can_be_off(client: Client, sim: RunningSimulator) -> None:
    sim.settings(clock_offset_s=7200)
    answer = client.submit()
    ahead = timedelta(hours=1, minutes=59)
    assert parsedate_to_datetime(answer.headers["Date"]) > datetime.now(UTC) + ahead
    created_at = answer.json()["data"]["created_at"]
    assert datetime.fromisoformat(created_at[:26] + "+00:00") > datetime.now(UTC) + ahead


def test_predictions_are_gone_after_seven_days(client: Client, sim: RunningSimulator) -> None:
    prediction_id = client.created()
    sim.settings(clock_offset_s=8 * 86400)
    assert client.list()["items"] == []
    assert client.http.get(f"/api/v3/predictions/{prediction_id}/result").status_code == 404
