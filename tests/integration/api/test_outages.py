"""What the API does while Redis, the bucket or the broker is away, wrong, or not yet there."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from api import readiness
from api.app import create_app
from darkroom.errors import ConfigurationError
from darkroom.line import progress
from deploy.embedded.processes import free_port
from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from tests.integration.api.conftest import BUCKET
from tests.support.api import RunningApi, running_api
from tests.support.by_hand import ByHand
from tests.support.settings import ACME, service_settings
from tests.support.valkeys import replica_of
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def fresh_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "CACHE_S", 0.0)


@pytest.fixture
def work_waits(acme: httpx.Client) -> None:
    acme.post("/v1/jobs", json={"prompt": "x"})


def ready(client: httpx.Client) -> tuple[int, dict[str, Any]]:
    answer = client.get("/readyz")
    body = answer.json()
    assert body["status"] == ("ready" if answer.status_code == 200 else "not_ready")
    assert set(body["checks"]) == {"redis", "bucket", "workers", "progress"}
    return answer.status_code, body["checks"]


def give_sign_of_life(client: redis.Redis, *, ago_ms: int = 0) -> None:
    sign = {"alive_at_ms": time.time_ns() // 1_000_000 - ago_ms, "queues": [], "pid": 1, "host": "h", "in_flight": 0}
    client.hset("{darkroom}:workers", "worker@h", json.dumps(sign))


def test_an_idle_service_is_ready_even_before_its_workers(acme: httpx.Client) -> None:
    assert ready(acme)[0] == 200


@pytest.mark.usefixtures("work_waits")
def test_jobs_that_wait_without_a_worker_are_not_ready(acme: httpx.Client, redis_client: redis.Redis) -> None:
    status, checks = ready(acme)
    assert (status, checks["workers"]["ok"], checks["progress"]["ok"]) == (503, False, False)
    give_sign_of_life(redis_client, ago_ms=31_000)
    assert ready(acme)[0] == 503
    give_sign_of_life(redis_client)
    assert ready(acme)[0] == 200


@pytest.mark.usefixtures("work_waits")
def test_a_line_that_nothing_looks_at_while_a_lane_is_open_is_not_ready_after_a_while(
    acme: httpx.Client, redis_client: redis.Redis, by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_sign_of_life(redis_client)
    by_hand.open_lane()
    assert ready(acme)[0] == 200
    monkeypatch.setattr(progress, "STUCK_AFTER_MS", {"dispatch": -1})
    status, checks = ready(acme)
    assert (status, checks["progress"]["ok"], checks["workers"]["ok"]) == (503, False, True)
    assert "dispatch: jobs wait and nothing looks at the line" in checks["progress"]["detail"]
    redis_client.hset("{darkroom}:lane:default", mapping={"state": "paused", "reason": "balance"})
    assert ready(acme)[0] == 200


def test_a_timer_long_overdue_is_not_ready(acme: httpx.Client, redis_client: redis.Redis) -> None:
    give_sign_of_life(redis_client)
    redis_client.zadd("{darkroom}:due", {"j:job_x:1": time.time_ns() // 1_000_000 - 61_000})
    status, checks = ready(acme)
    assert (status, checks["progress"]["ok"]) == (503, False)


def test_a_missing_bucket_is_named(valkey_server: EmbeddedValkey, s3_server: EmbeddedS3, redis_url: str) -> None:
    settings = service_settings(redis_url, s3=s3_server, bucket="no-such-bucket")
    with running_api(create_app(settings)) as api, api.client() as client:
        status, checks = ready(client)
    assert (status, checks["bucket"]["ok"], checks["redis"]["ok"]) == (503, False, True)
    assert "no-such-bucket" in checks["bucket"]["detail"]
    assert "create it" in checks["bucket"]["detail"]


def test_a_redis_that_evicts_is_refused_in_one_line(redis_client: redis.Redis, redis_url: str) -> None:
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigurationError) as refused:
            create_app(service_settings(redis_url))
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
    (problem,) = refused.value.problems
    assert problem.startswith("DARKROOM_REDIS_URL: ")
    assert "allkeys-lru" in problem


def test_a_redis_that_begins_to_evict_or_does_not_persist_shows(acme: httpx.Client, redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory-policy", "volatile-ttl")
    redis_client.config_set("appendonly", "no")
    try:
        evicting = ready(acme)
        redis_client.config_set("maxmemory-policy", "noeviction")
        lossy = ready(acme)
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
        redis_client.config_set("appendonly", "yes")
    assert (evicting[0], "volatile-ttl" in evicting[1]["redis"]["detail"]) == (503, True)
    assert (lossy[0], "appendonly" in lossy[1]["redis"]["warning"]) == (200, True)


def test_a_redis_that_does_not_sync_every_write_shows_what_may_be_lost(
    acme: httpx.Client, redis_client: redis.Redis
) -> None:
    redis_client.config_set("appendfsync", "everysec")
    try:
        status, checks = ready(acme)
    finally:
        redis_client.config_set("appendfsync", "always")
    assert (status, "up to a second of accepted jobs" in checks["redis"]["warning"]) == (200, True)
    assert "warning" not in ready(acme)[1]["redis"]


def test_what_may_be_lost_is_said_once_at_the_start(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_client.config_set("appendfsync", "no")
    try:
        create_app(service_settings(redis_url))
    finally:
        redis_client.config_set("appendfsync", "always")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "store.may_lose_jobs" in line]
    assert "DARKROOM_REDIS_URL" in line
    assert "appendfsync no" in line


def test_a_read_only_replica_is_refused_in_one_line(valkey_server: EmbeddedValkey, tmp_path: Path) -> None:
    with replica_of(valkey_server, tmp_path) as replica, pytest.raises(ConfigurationError) as refused:
        create_app(service_settings(replica.url))
    (problem,) = refused.value.problems
    assert problem.startswith("DARKROOM_REDIS_URL: this is a read-only replica")


def test_a_wrong_password_is_refused_in_one_line_that_does_not_repeat_it(redis_url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        create_app(service_settings(redis_url.replace("redis://:", "redis://:guessed-")))
    (problem,) = refused.value.problems
    assert problem.startswith("DARKROOM_REDIS_URL: this Redis refuses the user or password")
    assert "guessed" not in problem


def test_an_api_without_its_redis_says_which_setting_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    create_app(service_settings(f"redis://:secret@127.0.0.1:{port}/0"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "store.unreachable" in line]
    assert "DARKROOM_REDIS_URL" in line
    assert f"127.0.0.1:{port}" in line
    assert "secret" not in line


def test_a_nearly_full_redis_takes_no_job_until_there_is_room(acme: httpx.Client, redis_client: redis.Redis) -> None:
    used = int(redis_client.info("memory")["used_memory"])  # type: ignore[index]
    redis_client.config_set("maxmemory", used + used // 9)
    try:
        wait_until(lambda: acme.post("/v1/jobs", json={"prompt": "x"}).status_code == 503, what="no job to be taken")
        answer = acme.post("/v1/jobs", json={"prompt": "x"})
        status, checks = ready(acme)
    finally:
        redis_client.config_set("maxmemory", "0")
    assert (answer.json()["code"], int(answer.headers["retry-after"]) >= 1) == ("store_full", True)
    assert (status, "maxmemory" in checks["redis"]["detail"]) == (503, True)
    wait_until(lambda: acme.post("/v1/jobs", json={"prompt": "x"}).status_code == 202, what="jobs to be taken again")


def test_a_redis_without_room_for_another_job_is_told(acme: httpx.Client, redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory", "1")
    try:
        answer = acme.post("/v1/jobs", json={"prompt": "x"})
    finally:
        redis_client.config_set("maxmemory", "0")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_full")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.fixture
def restarted(valkey_server: EmbeddedValkey, s3_server: EmbeddedS3, redis_url: str) -> Iterator[RunningApi]:
    """An API of the test's own, whose Valkey the test kills and starts again."""
    with running_api(create_app(service_settings(redis_url, s3=s3_server, bucket=BUCKET))) as api:
        yield api
    if valkey_server.process.poll() is not None:
        valkey_server.start()


def test_a_killed_redis_is_told_and_comes_back_with_every_job(
    restarted: RunningApi, valkey_server: EmbeddedValkey
) -> None:
    with restarted.client(ACME) as client:
        job = client.post("/v1/jobs", json={"prompt": "x"}).json()
        valkey_server.kill()
        for call in (client.post("/v1/jobs", json={"prompt": "x"}), client.get("/v1/jobs"), client.get("/v1/status")):
            assert (call.status_code, call.json()["code"]) == (503, "store_unavailable")
            assert int(call.headers["retry-after"]) >= 1
        status, checks = ready(client)
        assert (status, checks["redis"]["ok"], checks["bucket"]["ok"]) == (503, False, True)
        assert client.get("/healthz").status_code == 200
        assert "darkroom_store_up 0.0" in client.get("/metrics").text.splitlines()
        valkey_server.start()
        assert client.get(f"/v1/jobs/{job['id']}").json() == job
        assert client.post("/v1/jobs", json={"prompt": "x"}).status_code == 202


def test_who_waits_through_a_restart_of_redis_learns_what_happened_meanwhile(
    restarted: RunningApi, valkey_server: EmbeddedValkey, redis_url: str
) -> None:
    with restarted.client(ACME) as client, ThreadPoolExecutor(1) as pool:
        job_id = client.post("/v1/jobs", json={"prompt": "x"}).json()["id"]
        waiting = pool.submit(client.get, f"/v1/jobs/{job_id}?wait=60", timeout=60)
        wait_until(lambda: restarted.watches == 1, what="the call to wait")
        with redis.Redis.from_url(redis_url) as beside:
            silent_cancel(beside, job_id)
        valkey_server.kill()
        valkey_server.start()
        assert waiting.result(30).json()["status"] == "canceled"


def silent_cancel(client: redis.Redis, job_id: str) -> None:
    """Make a job terminal without a word on the channel, as a change is that falls into a lost connection."""
    client.hset(f"{{darkroom}}:job:{job_id}", "status", "canceled")


def test_an_api_that_starts_before_its_redis_waits_for_it(
    valkey_server: EmbeddedValkey, s3_server: EmbeddedS3, redis_url: str
) -> None:
    valkey_server.kill()
    try:
        app = create_app(service_settings(redis_url, s3=s3_server, bucket=BUCKET))
        with running_api(app) as api, api.client(ACME) as client:
            assert ready(client)[0] == 503
            assert client.post("/v1/jobs", json={"prompt": "x"}).json()["code"] == "store_unavailable"
            valkey_server.start()
            assert client.post("/v1/jobs", json={"prompt": "x"}).status_code == 202
    finally:
        if valkey_server.process.poll() is not None:
            valkey_server.start()


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_away_is_nobodys_error(s3_server: EmbeddedS3, redis_url: str, scheme: str) -> None:
    broker = f"{scheme}://127.0.0.1:{free_port()}/"
    app = create_app(service_settings(redis_url, s3=s3_server, bucket=BUCKET, broker_url_override=broker))
    with running_api(app) as api, api.client(ACME) as client:
        assert client.post("/v1/jobs", json={"prompt": "x"}).status_code == 202
        wait_until(
            lambda: 'darkroom_wakes_total{result="failed"} 1.0' in client.get("/metrics").text.splitlines(),
            what="the failed wake-up call to be counted",
        )


def test_without_a_key_the_api_refuses_to_start_and_says_what_to_set(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match="DARKROOM_API_KEYS"):
        create_app(service_settings(redis_url, api_keys_text=None, admin_keys_text=None))


def test_without_auth_everybody_is_the_operator_of_the_default_tenant(redis_url: str) -> None:
    settings = service_settings(redis_url, api_keys_text=None, admin_keys_text=None, auth="off")
    with running_api(create_app(settings)) as api, api.client() as client:
        client.post("/v1/jobs", json={"prompt": "x"})
        assert client.get("/v1/status").json()["line"]["tenants"][0]["tenant"] == "default"


def test_links_start_with_the_public_address(redis_url: str) -> None:
    settings = service_settings(redis_url, public_url="https://darkroom.example.com/")
    with running_api(create_app(settings)) as api, api.client(ACME) as client:
        answer = client.post("/v1/jobs", json={"prompt": "x"})
    assert answer.headers["location"] == answer.json()["links"]["self"]
    assert answer.headers["location"].startswith("https://darkroom.example.com/v1/jobs/job_")
