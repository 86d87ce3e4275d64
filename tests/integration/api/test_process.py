"""The API as a process of its own, as `darkroom api` runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from deploy.embedded.processes import free_port
from tests.support.waiting import wait_until

KEY = {"Authorization": "Bearer the-key"}


@pytest.fixture
def process(redis_url: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    env = os.environ | {
        "DARKROOM_REDIS_URL": redis_url,
        "DARKROOM_API_KEYS": "acme:the-key",
        "DARKROOM_PORT": str(port),
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "the-secret",
        "DARKROOM_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "darkroom.cli", "api"]
    running = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(url) or running.poll() is not None, what="the API to answer")
    yield running, url
    running.kill()
    running.communicate()


def test_a_stop_signal_ends_long_answers_at_once_and_the_process_cleanly(
    process: tuple[subprocess.Popen[bytes], str], redis_client: redis.Redis
) -> None:
    running, url = process
    with httpx.Client(base_url=url, headers=KEY, timeout=60, verify=False) as client, ThreadPoolExecutor(2) as pool:
        job = client.post("/v1/jobs", json={"prompt": "a secret prompt"}).json()
        waiting = pool.submit(client.get, f"/v1/jobs/{job['id']}?wait=60")
        following = pool.submit(client.get, f"/v1/jobs/{job['id']}/events")
        wait_until(lambda: "darkroom_watchers 2.0" in client.get("/metrics").text, what="both to wait")
        running.send_signal(signal.SIGTERM)
        assert waiting.result(20).json()["status"] == "queued"
        assert following.result(20).text.count("event: job.status") == 1
    _, said = running.communicate(timeout=20)
    assert running.returncode in (0, -signal.SIGTERM)
    assert not [secret for secret in (b"the-key", b"the-secret", b"a secret prompt") if secret in said]


def test_a_crash_in_a_route_is_a_problem_with_an_id_and_a_line_in_the_log(
    process: tuple[subprocess.Popen[bytes], str], redis_client: redis.Redis
) -> None:
    running, url = process
    redis_client.set("{darkroom}:depth", "of another type")
    answer = httpx.get(f"{url}/v1/status", headers=KEY | {"X-Request-Id": "mine"}, verify=False)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "mine" in answer.json()["detail"]
    assert "WRONGTYPE" not in answer.text
    running.terminate()
    _, said = running.communicate(timeout=20)
    lines = [line for line in said.splitlines() if b"request_crashed" in line]
    assert len(lines) == 1
    assert b'"mine"' in lines[0]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", verify=False).status_code == 200
    except httpx.TransportError:
        return False
