"""The control endpoint, the process around the server, and what survives a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from simulator.settings import Settings, SettingsError
from simulator.testing import ControlError, RunningSimulator, running_simulator, simulator_process
from tests.simulator.helpers import Client


def test_the_ledger_says_what_was_created_charged_and_answered(client: Client, sim: RunningSimulator) -> None:
    prediction_id = client.created("a fox", size="2560*1440", max_images=3)
    client.done(prediction_id)
    (entry,) = sim.predictions("fox")
    assert entry["id"] == prediction_id
    assert entry["request"] == {"prompt": "a fox", "size": "2560*1440", "max_images": 3}
    assert (entry["size"], entry["max_images"], entry["outputs"]) == ("2560*1440", 3, 3)
    assert (entry["status"], entry["answered"], entry["charged_usd"]) == ("completed", True, 0.12)
    assert entry["completed_at"] >= entry["received_at"]
    assert "test-key" not in str(entry)


def test_the_ledger_filters_by_prompt_and_pages(client: Client, sim: RunningSimulator) -> None:
    for number in range(5):
        client.created(f"fox {number}")
    client.created("a wolf", max_images=2)
    assert sim.ledger("wolf")["totals"] == {"predictions": 1, "images": 2, "charged_usd": 0.08, "refunded_usd": 0.0}
    page = httpx.get(f"{sim.url}/_simulator/ledger?limit=2&offset=1&prompt_contains=fox").json()
    assert [entry["prompt"] for entry in page["predictions"]] == ["fox 1", "fox 2"]
    assert page["totals"]["predictions"] == 5


def test_stats_count_calls_and_early_looks(client: Client, sim: RunningSimulator) -> None:
    prediction_id = client.created()
    client.look(prediction_id)
    client.look(prediction_id)
    client.list()
    stats = sim.stats()
    assert (stats["requests"]["submit"], stats["requests"]["result"], stats["requests"]["list"]) == (1, 2, 1)
    assert stats["looks_too_soon"] == 1


def test_tasks_can_be_finished_by_hand(client: Client, sim: RunningSimulator) -> None:
    first, second = (client.created(f"{number} [[sim:inference=600]]") for number in range(2))
    sim.complete(first)
    sim.fail(second, 5003)
    assert client.look(first)["status"] == "completed"
    assert client.look(second)["code"] == 5003
    with pytest.raises(ControlError, match="already"):
        sim.complete(second)


def test_a_reset_forgets_everything_but_the_settings(client: Client, sim: RunningSimulator) -> None:
    sim.settings(list_input="none")
    sim.fault("fail")
    client.created("a [[sim:inference=600]]")
    sim.reset()
    assert (sim.predictions(), sim.faults(), sim.stats()["in_flight"]) == ([], [], 0)
    assert sim.settings()["list_input"] == "none"
    assert client.done(client.created())["status"] == "completed"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"colour": 1}, "unknown setting"),
        ({"tier": "gold-plated"}, "one of"),
        ({"inference_min_s": 99}, "inference_max_s"),
        ({"list_delay_s": "long"}, "list_delay_s"),
        ({"list_total": 1}, "list_total"),
        ({"speed": 0}, "greater than 0"),
        ({"accounts": {"k": {"shoe_size": 1}}}, "accounts"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_and_changes_nothing(
    sim: RunningSimulator, changes: dict[str, object], word: str
) -> None:
    before = sim.settings()
    with pytest.raises(ControlError, match=word):
        sim.settings(**changes)
    assert sim.settings() == before


def test_settings_do_not_give_keys_away(sim: RunningSimulator) -> None:
    sim.settings(keys=["secret-key"], webhook_secret="whsec_abc", accounts={"secret-key": {"balance": 1.0}})
    assert "secret-key" not in str(sim.settings())
    assert "whsec_abc" not in str(sim.settings())


def test_old_predictions_make_room_for_new_ones(client: Client, sim: RunningSimulator) -> None:
    sim.settings(max_predictions=3)
    ids = [client.created(f"fox {number}") for number in range(3)]
    for one in ids:
        client.done(one)
    client.created("the fourth")
    assert [entry["id"] for entry in sim.predictions()][:2] == ids[1:]
    assert sim.stats()["forgotten"] == 1


def test_the_health_check_says_that_it_is_a_simulation(sim: RunningSimulator) -> None:
    assert httpx.get(f"{sim.url}/_simulator/healthz").json() == {"status": "ok", "simulation": True}


def test_a_process_announces_the_simulation_loudly_and_stops_on_sigterm() -> None:
    with simulator_process(tier="bronze", keys=["a"]) as sim:
        assert "SIMULATION" in sim.greeting
        assert "no real images" in sim.greeting
        assert sim.settings()["effective"] == {"images_per_minute": 10, "max_concurrency": 3}
        assert sim.close() == 0


def test_predictions_survive_a_killed_process(tmp_path: Path) -> None:
    state = str(tmp_path / "upstream" / "state.jsonl")
    with simulator_process(state_path=state, inference_min_s=0.01, inference_max_s=0.02) as sim:
        client = Client(sim)
        with client.http:
            done = client.created("a done fox", max_images=2)
            client.done(done)
            failed = client.created("a [[sim:fail=1200]]")
            client.done(failed)
            open_one = client.created("an open fox [[sim:inference=0.4]] [[sim:outputs=1]]", max_images=2)
            balance = client.balance()
        sim.kill()
    with (tmp_path / "upstream" / "state.jsonl").open("a") as file:
        file.write('{"id": "cut sho')
    with running_simulator(state_path=state) as again:
        client = Client(again)
        with client.http:
            assert client.balance() == pytest.approx(balance)
            assert client.look(done)["status"] == "completed"
            assert client.picture(client.look(done)["outputs"][1]).size == (2048, 2048)
            assert client.look(failed)["code"] == 1200
            assert len(client.done(open_one)["outputs"]) == 1
            again.reset()
    with running_simulator(state_path=state) as empty:
        assert empty.predictions() == []


def test_options_are_checked_before_anything_starts() -> None:
    with pytest.raises(SettingsError):
        Settings().changed({"inference_max_s": -1})


def test_the_control_endpoint_is_for_this_machine_only(as_key: Callable[[str], Client]) -> None:
    from simulator.control import _is_loopback

    assert _is_loopback("127.0.0.1")
    assert _is_loopback("::1")
    assert not _is_loopback("192.0.2.7")
    assert not _is_loopback(None)
