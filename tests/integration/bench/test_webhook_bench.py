"""The measurements of webhooks run from end to end, and refuse a run in which an event was lost or changed its id."""

import http.client
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from bench.deliveries import Told, check_ids, check_received, first_attempts, more_than_once
from bench.figures import BenchError
from bench.mortals import Mortals, draw_kills
from bench.processes import ServiceProcess
from bench.receivers import Arrival, Behaviour, running_receivers
from bench.waiting import wait_for
from bench.webhook_rate import Round, Sample
from deploy.embedded.valkey import EmbeddedValkey

BODY = orjson.dumps({"timestamp": "2026-11-26T02:00:00.250Z", "data": {"id": "job_1"}})
EVENT_AT = 1_795_658_400.25


def _figures(tmp_path: Path, name: str, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "bench", "--quick", "--out", str(tmp_path), *arguments, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=85)
    assert done.returncode == 0, done.stderr
    figures: list[dict[str, Any]] = orjson.loads((tmp_path / f"{name}.json").read_bytes())["figures"]
    return figures


def _post(url: str, event_id: str) -> int:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    try:
        connection.request("POST", address.path, BODY, {"webhook-id": event_id})
        return connection.getresponse().status
    finally:
        connection.close()


def _arrival(number: int = 1, *, at: float = 1.0, event_id: str = "", answered: int = 204) -> Arrival:
    return Arrival(0, at, event_id or f"evt_{number}", f"job_{number}", 0.5, answered)


def test_isolation_times_good_receivers_alone_beside_others_and_beside_bad_ones(tmp_path: Path) -> None:
    figures = _figures(tmp_path, "webhook_isolation")
    good = {item["case"]: item["values"] for item in figures if item["what"] == "event → good receiver"}
    assert [len(values) for values in good.values()] == [20, 20, 20]
    assert min(value for values in good.values() for value in values) > 0
    beside = {item["what"] for item in figures if item["case"].startswith("one that hangs")}
    assert {f"event → first attempt, receiver beside: {what}" for what in ("hangs", "fails", "resets")} <= beside
    raw = orjson.loads((tmp_path / "webhook_isolation.json").read_bytes())["raw"]
    assert sum(row.get("to") == "good" for row in raw) == 60
    assert all(row["posted_at"] < row["received_at"] < row["stored_at"] for row in raw if "posted_at" in row)


def test_rate_counts_what_one_worker_delivers_and_what_that_costs(tmp_path: Path) -> None:
    figures = {
        (item["case"].partition(",")[0], item["what"]): item["values"] for item in _figures(tmp_path, "webhook_rate")
    }
    assert figures["100 deliveries due at once to 2 receivers", "CPU of the worker a delivery"][0] > 0
    assert figures["httpx loop", "CPU a delivery"][0] > 0
    raw = orjson.loads((tmp_path / "webhook_rate.json").read_bytes())["raw"]
    assert len([row for row in raw if "event_id" in row]) == 100
    assert [row["done"] for row in raw if row.get("side") == "httpx loop"] == [100]


def test_kills_of_workers_and_valkey_lose_no_event(tmp_path: Path) -> None:
    figures = {item["what"]: item["values"] for item in _figures(tmp_path, "webhook_kills", "--seed", "7")}
    assert figures["kills of workers"] == figures["kills of Valkey"] == [1]
    assert figures["events received"] == [60]
    assert figures["events whose id changed between attempts"] == [0]
    assert figures["attempts that arrived"][0] > 60


@pytest.mark.parametrize(("behaviour", "status"), [(Behaviour.GOOD, 204), (Behaviour.FAILS, 500)])
def test_a_receiver_answers_as_it_should_and_notes_what_came(behaviour: Behaviour, status: int) -> None:
    with running_receivers(Behaviour.GOOD, behaviour) as receivers:
        assert _post(receivers.urls[1], "evt_1") == status
        assert receivers.counts() == [0, 1]
        (arrival,) = receivers.arrivals()
    assert (arrival.receiver, arrival.event_id, arrival.job_id, arrival.answered) == (1, "evt_1", "job_1", status)
    assert arrival.event_at == EVENT_AT


def test_a_receiver_that_resets_notes_the_attempt_and_breaks_the_connection() -> None:
    with running_receivers(Behaviour.RESETS) as receivers:
        with pytest.raises(ConnectionResetError):
            _post(receivers.urls[0], "evt_1")
        assert [arrival.answered for arrival in receivers.arrivals()] == [0]


def test_a_receiver_that_hangs_keeps_the_connection_and_says_nothing() -> None:
    request = b"POST / HTTP/1.1\r\nWebhook-Id: evt_1\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    with running_receivers(Behaviour.HANGS) as receivers:
        address = urlsplit(receivers.urls[0])
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(request[:40])
            connection.sendall(request[40:])
            wait_for(lambda: receivers.counts() == [1], 10, what="the request")
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)


def test_some_events_fail_at_their_first_attempt_and_none_at_the_second() -> None:
    ids = [f"evt_{number}" for number in range(20)]
    with running_receivers(Behaviour.FAILS_FIRST) as receivers:
        first, second = ([_post(receivers.urls[0], event_id) for event_id in ids] for _ in range(2))
        assert set(first) == {204, 500}
        assert set(second) == {204}


@pytest.mark.parametrize("arrivals", [[], [_arrival(answered=500)], [_arrival(2)]], ids=["none", "failed", "another's"])
def test_an_event_that_no_receiver_took_fails_the_run(arrivals: list[Arrival]) -> None:
    with pytest.raises(BenchError, match="received by nobody"):
        check_received(arrivals, {"job_1": Told("evt_1", "delivered")})


def test_an_attempt_under_another_id_fails_the_run() -> None:
    deliveries = {"job_1": Told("evt_1", "delivered")}
    check_ids([_arrival(), _arrival()], deliveries)
    with pytest.raises(BenchError, match="evt_9"):
        check_ids([_arrival(), _arrival(event_id="evt_9")], deliveries)
    with pytest.raises(BenchError, match="job_2"):
        check_ids([_arrival(2)], deliveries)


def test_only_the_first_attempt_at_an_event_is_timed_and_repetitions_are_counted() -> None:
    arrivals = [_arrival(at=3.0), _arrival(at=2.0, answered=500), _arrival(2, at=4.0), _arrival(2, at=5.0)]
    assert sorted(arrival.at for arrival in first_attempts(arrivals)) == [2.0, 4.0]
    assert more_than_once(arrivals) == 1


def test_cpu_is_counted_from_the_first_arrival_to_the_last() -> None:
    samples = [Sample(float(at), (at * 0.5, at * 0.25, 0.0)) for at in range(5)]
    one = Round([_arrival(1, at=1.5), _arrival(2, at=3.5)], samples)
    assert one.seconds == 2.0
    assert one.cpu_s() == {"worker": 1.0, "Valkey": 0.5, "receivers": 0.0}


def test_kills_are_drawn_from_the_seed() -> None:
    def draw(seed: int) -> list[Any]:
        return list(draw_kills(seed, lasts_s=10, workers=3, worker_kills=5, valkey_kills=2))

    assert draw(1) == draw(1) != draw(2)
    assert sorted(kill.what for kill in draw(1)) == ["Valkey"] * 2 + ["worker"] * 5
    assert all(0 <= kill.at_s <= 10 and kill.worker < 3 for kill in draw(1))


def test_a_worker_that_ends_although_nobody_killed_it_fails_the_run(
    tmp_path: Path, valkey_server: EmbeddedValkey
) -> None:
    def start(number: int) -> ServiceProcess:
        return ServiceProcess(f"worker-{number}", ("--help",), scratch=tmp_path, env={})

    mortals = Mortals(valkey_server, workers=1, start_worker=start)
    mortals.workers[0].popen.wait(30)
    with pytest.raises(BenchError, match="ended by itself with 0"):
        mortals.look_after()
