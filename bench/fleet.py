"""A fleet of real processes: Valkey that syncs every write, an S3 server, the simulator, one API, one worker or more.

Only the webhook receiver and the load run in the benchmark's own process.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import redis

from bench.processes import ServiceProcess, start_in
from bench.receiver import Receiver, running_receiver
from bench.waiting import wait_for
from darkroom.store import keys
from deploy.embedded.processes import free_port
from deploy.embedded.s3 import EmbeddedS3, embedded_s3
from deploy.embedded.valkey import embedded_valkey
from simulator.testing import SimulatorProcess, simulator_process
from tests.support.forwarder import Forwarder, certificate_of_this_machine

API_KEY = "dk_bench"
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The running processes and what the load needs to reach them. `worker` is the first of `workers`."""

    redis: "redis.Redis"
    redis_url: str
    simulator: SimulatorProcess
    workers: tuple[ServiceProcess, ...]
    api: ServiceProcess
    receiver: Receiver
    api_url: str

    @property
    def worker(self) -> ServiceProcess:
        """The worker, where there is one."""
        return self.workers[0]

    @property
    def headers(self) -> dict[str, str]:
        """What a customer sends along."""
        return {"Authorization": f"Bearer {API_KEY}"}

    def body(self, number: int, **fields: Any) -> dict[str, Any]:
        """Give a job request whose webhook is the receiver."""
        return {"prompt": f"bench panel {number}", "max_images": 1, "webhook": {"url": self.receiver.url}} | fields

    def complaints(self) -> Counter[str]:
        """Count what the service has warned of so far: it often explains an outlier."""
        return sum((process.complaints() for process in (*self.workers, self.api)), Counter())

    def attempt(self, job_id: str) -> dict[str, str]:
        """Read the record of a job's first attempt: its moments in Unix milliseconds by Redis' clock."""
        record: dict[str, str] = self.redis.hgetall(keys.attempt(job_id, 1))  # type: ignore[assignment]
        return record


@contextmanager
def running_fleet(
    scratch: Path,
    *,
    simulator: dict[str, Any],
    poll_min_s: float,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    callbacks: bool = False,
    prepare: Callable[[str], object] = str,
) -> Iterator[Fleet]:
    """Start everything and wait until it can work; a worker is ready when it consumes, not when it breathes.

    `simulator` holds its settings; `poll_min_s` and `settings` are the service's own, all others keep their defaults.
    With `callbacks` the simulator calls the API back through a TLS front, whose certificate it does not judge.
    `prepare` gets the store's URL before any process of the service runs.
    """
    with ExitStack() as stack:
        valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
        prepare(valkey.url)
        s3 = stack.enter_context(embedded_s3(scratch / "s3"))
        upstream = stack.enter_context(simulator_process(**simulator, callback_verify_tls=not callbacks))
        receiver = stack.enter_context(running_receiver())
        client = stack.enter_context(redis.Redis.from_url(valkey.url, decode_responses=True))
        env = environment(valkey.url, s3, upstream.url) | {"DARKROOM_POLL_MIN_SECONDS": str(poll_min_s)}
        env |= settings or {}
        port = free_port()
        if callbacks:
            front = Forwarder(port, tls=certificate_of_this_machine())
            stack.callback(front.close)
            env |= {"WAVESPEED_CALLBACKS": "on", "DARKROOM_PUBLIC_URL": f"https://127.0.0.1:{front.port}"}
        names = ["worker", *(f"worker-{number}" for number in range(2, workers + 1))]
        started = tuple(
            start_in(stack, name, "worker", "--name", f"bench-{name}", scratch=scratch, env=env) for name in names
        )
        api = start_in(stack, "api", "api", "--port", str(port), scratch=scratch, env=env)
        api_url = f"http://127.0.0.1:{port}"
        wait_for(
            lambda: all(consumes(worker, client, workers) for worker in started),
            START_TIMEOUT_S,
            what="the workers to consume",
        )
        wait_for(lambda: answers(api, api_url), START_TIMEOUT_S, what="the api to be ready")
        yield Fleet(client, valkey.url, upstream, started, api, receiver, api_url)


def breathes(worker: ServiceProcess, client: "redis.Redis") -> bool:
    """Say whether the worker has given a sign of life."""
    worker.must_run()
    signs: dict[str, str] = client.hgetall(keys.WORKERS)  # type: ignore[assignment]
    return any(orjson.loads(sign)["pid"] == worker.popen.pid for sign in signs.values())


def consumes(worker: ServiceProcess, client: "redis.Redis", workers: int = 1) -> bool:
    """Say whether the workers, of which this is one, wait for messages: each has a client of Valkey in BRPOP."""
    worker.must_run()
    connections: list[dict[str, str]] = client.client_list()
    return sum(connection["cmd"] == "brpop" for connection in connections) >= workers


def answers(api: ServiceProcess, api_url: str, path: str = "/readyz") -> bool:
    """Say whether a GET of `path` answers 200."""
    api.must_run()
    try:
        return httpx.get(f"{api_url}{path}", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def environment(redis_url: str, s3: EmbeddedS3, upstream_url: str) -> dict[str, str]:
    """Give the settings of an API or a worker on these servers; everything else keeps its default."""
    return {
        "WAVESPEED_API_KEY": "ws_bench",
        "WAVESPEED_BASE_URL": upstream_url,
        "WAVESPEED_TIER": "ultra",
        "DARKROOM_REDIS_URL": redis_url,
        "DARKROOM_S3_BUCKET": s3.bucket,
        "DARKROOM_S3_ENDPOINT_URL": s3.endpoint_url,
        "DARKROOM_S3_REGION": s3.region,
        "DARKROOM_S3_ADDRESSING": "path",
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "DARKROOM_API_KEYS": f"bench:{API_KEY}",
        "DARKROOM_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "DARKROOM_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        "DARKROOM_LOG_FORMAT": "json",
    }
