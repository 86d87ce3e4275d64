"""What a container's health check says."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import redis

from darkroom.store.keys import WORKERS
from deploy.embedded.processes import free_port
from deploy.healthcheck import main


@pytest.fixture
def api_answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    statuses = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[0] if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("DARKROOM_HOST", "0.0.0.0")
        monkeypatch.setenv("DARKROOM_PORT", str(server.server_port))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield statuses
        server.shutdown()
        thread.join()


def test_an_api_that_answers_is_healthy(api_answering: list[int]) -> None:
    assert main(["api"]) == 0


def test_an_api_that_answers_an_error_is_not(api_answering: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    api_answering[0] = 500
    assert main(["api"]) == 1
    assert "500" in capsys.readouterr().err


def test_an_api_that_nobody_runs_is_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DARKROOM_PORT", str(free_port()))
    assert main(["api"]) == 1
    assert "can't be reached" in capsys.readouterr().err


def beat(client: redis.Redis, *, host: str, age_s: float) -> None:
    client.hset(WORKERS, f"worker@{host}", json.dumps({"alive_at_ms": (time.time() - age_s) * 1000}))


@pytest.mark.parametrize(("age_s", "code"), [(1, 0), (300, 1)])
def test_a_worker_is_as_healthy_as_its_heartbeat_is_fresh(
    redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, age_s: float, code: int
) -> None:
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_url)
    beat(redis_client, host=socket.gethostname(), age_s=age_s)
    assert main(["worker"]) == code


def test_another_containers_heartbeat_does_not_count(
    redis_client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_REDIS_URL", redis_url)
    beat(redis_client, host="elsewhere", age_s=0)
    assert main(["worker"]) == 1


def test_a_redis_that_is_away_is_not_held_against_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(["worker"]) == 0


def test_an_unknown_role_is_refused() -> None:
    assert main(["poller"]) == 2
