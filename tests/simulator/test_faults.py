"""Every fault: what the client sees, and what was created and billed behind its back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from simulator.faults import AFTER, BEFORE, KINDS
from simulator.markers import markers_of, without_markers
from simulator.testing import ControlError, RunningSimulator, running_simulator
from tests.simulator.helpers import Client


def _billed(sim: RunningSimulator) -> int:
    return int(sim.ledger()["totals"]["predictions"])


@pytest.mark.parametrize(
    ("marker", "error"),
    [
        ("lost_answer", httpx.ReadError),
        ("lost_answer=fin", httpx.RemoteProtocolError),
        ("lost_answer=cut", httpx.RemoteProtocolError),
        ("hang_after=0.01", httpx.RemoteProtocolError),
    ],
)
def test_a_lost_answer_leaves_a_billed_prediction(
    client: Client, sim: RunningSimulator, marker: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.submit(f"a [[sim:{marker}]]")
    (entry,) = sim.predictions()
    assert entry["charged_usd"] == 0.04
    assert entry["answered"] is False
    assert client.list()["items"][0]["id"] == entry["id"]


@pytest.mark.parametrize("marker", ["lost_before", "lost_before=fin", "hang=0.01"])
def test_a_connection_lost_before_creates_nothing(client: Client, sim: RunningSimulator, marker: str) -> None:
    with pytest.raises(httpx.TransportError):
        client.submit(f"a [[sim:{marker}]]")
    assert _billed(sim) == 0


@pytest.mark.parametrize(
    ("marker", "status", "billed"),
    [
        ("error_before=500", 500, 0),
        ("error_before=403", 403, 0),
        ("html_error=504", 504, 0),
        ("rate_limit=7", 429, 0),
        ("balance_empty", 402, 0),
        ("error_after=503", 503, 1),
        ("html_error_after", 502, 1),
    ],
)
def test_a_refusal_is_billed_only_where_the_prediction_was_created(
    client: Client, sim: RunningSimulator, marker: str, status: int, billed: int
) -> None:
    answer = client.submit(f"a [[sim:{marker}]]")
    assert answer.status_code == status
    assert _billed(sim) == billed
    if "html" in marker:
        assert answer.headers["Content-Type"].startswith("text/html")
    if status == 429:
        assert answer.headers["Retry-After"] == "7"


def test_an_unreadable_answer_is_broken_json_with_200(client: Client, sim: RunningSimulator) -> None:
    answer = client.submit("a [[sim:unreadable]]")
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert _billed(sim) == 1


@pytest.mark.parametrize(("marker", "billed"), [("hang", 0), ("hang_after", 1), ("delay_answer=60", 1)])
def test_a_hanging_call_ends_when_the_client_leaves(
    client: Client, sim: RunningSimulator, marker: str, billed: int
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.http.post(
            "/api/v3/bytedance/seedream-v4.5/sequential", json={"prompt": f"a [[sim:{marker}]]"}, timeout=0.1
        )
    assert _billed(sim) == billed
    assert all(not entry["answered"] for entry in sim.predictions())


def test_a_delayed_answer_is_the_true_one(client: Client, sim: RunningSimulator) -> None:
    assert client.submit("a [[sim:delay_answer=0.05]]").json()["data"]["status"] == "created"
    assert sim.predictions()[0]["answered"] is True


@pytest.mark.parametrize("code", [1200, 1400, 1401, 1402, 1403, 1405, 5000, 5003, 5004])
def test_a_failed_task_is_http_200_with_its_code_and_words(client: Client, sim: RunningSimulator, code: int) -> None:
    data = client.done(client.created(f"a [[sim:fail={code}]]"))
    assert (data["status"], data["code"], data["outputs"]) == ("failed", code, [])
    assert data["error"]
    assert sim.predictions()[0]["refunded_usd"] == 0.04


@pytest.mark.parametrize("status", ["cancelled", "timeout", "deleted"])
def test_a_task_can_end_in_any_terminal_status(client: Client, status: str) -> None:
    assert client.done(client.created(f"a [[sim:status={status}]]"))["status"] == status


def test_an_unknown_status_never_ends_unless_it_passes(client: Client, sim: RunningSimulator) -> None:
    stuck = client.created("a [[sim:status=archived]]")
    passing = client.created("b [[sim:status=warming_up,seconds=600]]")
    sim.wait_until(lambda: client.look(stuck)["status"] == "archived")
    assert client.look(passing)["status"] == "warming_up"
    sim.complete(passing)
    assert client.look(passing)["status"] == "completed"
    assert sim.stats()["in_flight"] == 0


def test_fewer_outputs_null_outputs_and_flags(client: Client) -> None:
    data = client.done(client.created("a [[sim:outputs=2]] [[sim:null_output=1]] [[sim:nsfw=2]]", max_images=4))
    assert len(data["outputs"]) == 2
    assert data["outputs"][0] is None
    assert data["has_nsfw_contents"] == [False, True]
    assert client.done(client.created("a [[sim:null_flags]]"))["has_nsfw_contents"] is None
    assert "has_nsfw_contents" not in client.done(client.created("a [[sim:missing_flags]]"))


def _urls(client: Client, prompt: str, **fields: Any) -> list[str]:
    return list(client.done(client.created(prompt, **fields))["outputs"])


def test_a_truncated_file_ends_before_its_length(client: Client) -> None:
    first, second = _urls(client, "a [[sim:truncated=1]]", max_images=2)
    with pytest.raises(httpx.RemoteProtocolError):
        client.http.get(first)
    assert client.picture(second)


def test_a_file_with_an_honest_length_can_still_be_half_a_picture(client: Client) -> None:
    (url,) = _urls(client, "a [[sim:wrong_length]]")
    with pytest.raises(OSError, match="truncated"):
        client.picture(url)


def test_a_missing_file_can_appear_later(client: Client) -> None:
    late, never = _urls(client, "a [[sim:missing=1,x2]] [[sim:missing=2]]", max_images=2)
    assert [client.http.get(late).status_code for _ in range(3)] == [404, 404, 200]
    assert {client.http.get(never).status_code for _ in range(3)} == {404}


def test_a_page_instead_of_a_picture(client: Client) -> None:
    (url,) = _urls(client, "a [[sim:wrong_type]]")
    answer = client.http.get(url)
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, "text/html")


def test_a_file_can_be_slow_chunked_redirected_or_refused(client: Client) -> None:
    slow, chunked, moved, failing = (
        _urls(client, f"a [[sim:{marker}]]")[0]
        for marker in ("slow_output=400000", "no_content_length", "redirect", "output_error=503,x1")
    )
    assert client.picture(slow).size == (2048, 2048)
    assert "Content-Length" not in client.http.get(chunked).headers
    assert client.http.get(moved).status_code == 302
    assert client.http.get(moved, follow_redirects=True).headers["Content-Type"] == "image/png"
    assert [client.http.get(failing).status_code for _ in range(2)] == [503, 200]


def test_addresses_expire_and_a_new_look_renews_them(client: Client, sim: RunningSimulator) -> None:
    prediction_id = client.created()
    (old,) = client.done(prediction_id)["outputs"]
    assert client.look(prediction_id)["outputs"] == [old], "an address that still works stays the same"
    sim.settings(output_url_ttl_s=0.0)
    (expired,) = client.done(client.created())["outputs"]
    sim.wait_until(lambda: client.http.get(expired).status_code == 403)
    assert client.http.get(old.replace("token=", "token=0")).status_code == 403
    sim.settings(output_url_ttl_s=60.0)
    assert client.http.get(client.look(prediction_id)["outputs"][0]).status_code == 200


def test_an_expired_file_by_fault_comes_back(client: Client) -> None:
    (url,) = _urls(client, "a [[sim:expired=1,x1]]")
    assert [client.http.get(url).status_code for _ in range(2)] == [403, 200]


def test_a_marker_of_a_call_strikes_once_per_prompt_unless_told_otherwise(client: Client) -> None:
    def statuses(prompt: str, tries: int) -> list[int]:
        return [client.submit(prompt).status_code for _ in range(tries)]

    assert statuses("a [[sim:error_before=503]]", 2) == [503, 200]
    assert statuses("b [[sim:error_before=503,times=2]]", 3) == [503, 503, 200]
    assert statuses("c [[sim:error_before=503,x2]]", 3) == [503, 503, 200]
    assert statuses("d [[sim:error_before=503,times=all]]", 3) == [503] * 3
    assert statuses("e [[sim:error_before=503]] [[sim:rate_limit]]", 3) == [503, 429, 200]


def test_a_marker_can_strike_the_look(client: Client) -> None:
    prediction_id = client.created("a [[sim:error_before=500,call=result,x2]] [[sim:not_found]]")
    path = f"/api/v3/predictions/{prediction_id}/result"
    assert [client.http.get(path).status_code for _ in range(4)] == [500, 500, 404, 200]


def test_live_faults_strike_any_call_and_are_counted(client: Client, sim: RunningSimulator) -> None:
    calls = {
        "list": lambda: client.http.post("/api/v3/predictions", json={}),
        "balance": lambda: client.http.get("/api/v3/balance"),
        "submit": client.submit,
    }
    for name, call in calls.items():
        fault_id = sim.fault("error_before", call=name, status=503, times=1)
        assert [call().status_code for _ in range(2)] == [503, 200]
        assert [fault["fired"] for fault in sim.faults()] == [1]
        sim.clear_faults(fault_id)
    assert sim.faults() == []
    assert sim.stats()["faults_fired"] == {"error_before": 3}


def test_a_live_fault_can_be_for_some_prompts_only(client: Client, sim: RunningSimulator) -> None:
    sim.fault("fail", prompt_contains="wolf", code=1200)
    assert client.done(client.created("a wolf"))["code"] == 1200
    assert client.done(client.created("a fox"))["status"] == "completed"


def test_a_live_fault_can_be_a_matter_of_chance(client: Client, sim: RunningSimulator) -> None:
    sim.fault("error_before", probability=0.5)
    statuses = {client.submit().status_code for _ in range(40)}
    assert statuses == {200, 503}


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "nonsense"},
        {"kind": "fail", "call": "list"},
        {"kind": "error_before", "status": 200},
        {"kind": "error_before", "status": "archived"},
        {"kind": "lost_answer", "variant": "loud"},
        {"kind": "fail", "code": "1200"},
        {"kind": "fail", "colour": 1},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(sim: RunningSimulator, fields: dict[str, Any]) -> None:
    with pytest.raises(ControlError):
        sim.fault(**fields)


@pytest.mark.parametrize("kind", sorted({*BEFORE, *AFTER} - {"hang", "hang_after", "balance_empty"}))
def test_every_fault_of_a_call_strikes_looks_too(client: Client, sim: RunningSimulator, kind: str) -> None:
    prediction_id = client.created()
    sim.fault(kind, call="result", times=1)
    path = f"/api/v3/predictions/{prediction_id}/result"
    try:
        answer = client.http.get(path)
    except httpx.TransportError:
        answer = None
    assert answer is None or answer.status_code >= 400 or kind == "unreadable"
    assert client.http.get(path).status_code == 200


def test_every_kind_has_a_marker() -> None:
    for kind in KINDS:
        assert markers_of(f"a [[sim:{kind}]]")[0].kind == kind


def test_markers_are_not_drawn() -> None:
    assert without_markers("a fox [[sim:fail=1200]] at night [[sim:hang]]") == "a fox at night"


def test_error_bodies_take_turns_between_the_three_shapes(client: Client, sim: RunningSimulator) -> None:
    sim.fault("error_before", status=503)
    shapes = set()
    for _ in range(3):
        answer = client.submit()
        is_html = answer.headers["Content-Type"].startswith("text/html")
        shapes.add("html" if is_html else ",".join(answer.json()))
    assert shapes == {"html", "error", "message,error_code"}


def test_an_outage_refuses_connections_and_tasks_go_on(client: Client, sim: RunningSimulator) -> None:
    prediction_id = client.created()
    with sim.outage(), pytest.raises(httpx.TransportError):
        client.submit()
    assert client.done(prediction_id)["status"] == "completed"


@pytest.mark.parametrize("marker", ["hang", "hang_after", "delay_answer=600"])
def test_stopping_does_not_wait_for_hanging_calls(marker: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        with running_simulator() as sim:
            call = pool.submit(_submit_once, sim, f"a [[sim:{marker}]]")
            sim.wait_until(lambda: marker.split("=")[0] in sim.stats()["faults_fired"])
        # Leaving the block stopped the server, or raised after its deadline.
        with suppress(httpx.TransportError):
            call.result(10)


def _submit_once(sim: RunningSimulator, prompt: str) -> httpx.Response:
    client = Client(sim)
    with client.http:
        return client.submit(prompt)
