"""The service and the folder in which the command line's client lives, its fetches noted at the bucket's door."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import redis

from bench.bucket_door import BucketDoor, bucket_door
from bench.fetched import Life
from bench.fleet import API_KEY, START_TIMEOUT_S, answers, consumes, environment
from bench.processes import ServiceProcess, start_in
from bench.waiting import wait_for
from deploy.embedded.processes import free_port
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import embedded_valkey
from simulator.testing import SimulatorProcess, simulator_process

FILE, FOLDER = "jobs.jsonl", "shots"
UPSTREAM: dict[str, Any] = {
    "inference_min_s": 0.2,
    "inference_max_s": 1.0,
    "images_per_minute": 1_000_000,
    "max_concurrency": 1_000,
}
SETTINGS = {
    "WAVESPEED_IMAGES_PER_MINUTE": "1000000",
    "DARKROOM_POLL_MIN_SECONDS": "0.5",
    "DARKROOM_SUBMIT_TIMEOUT_SECONDS": "5",
    "DARKROOM_RECONCILE_WINDOW_SECONDS": "10",
}


@dataclass(frozen=True, slots=True)
class Errand:
    """The batch, and what the moments of the kills are drawn from.

    The first one falls up to `upload_s` after the client began to send; the second once a share of the images, drawn
    between the two of `share`, is in the folder; the worker's once such a share of the jobs has completed.
    `max_concurrency`: how many jobs upstream has at a time.
    """

    seed: int
    jobs: int = 5_000
    images_each: int = 2
    image_bytes: int = 10_000
    workers: int = 2
    upload_s: float = 2.0
    share: tuple[float, float] = (0.1, 0.6)
    max_concurrency: int = 500

    @property
    def name(self) -> str:
        """What the table calls it."""
        return (
            f"{self.jobs:,} jobs of {self.images_each} images, 2 × kill -9 of the client, "
            f"1 × of one of {self.workers} workers, seed {self.seed}"
        )

    @property
    def settings(self) -> dict[str, str]:
        """What the service is told, beyond its addresses."""
        return SETTINGS | {"WAVESPEED_MAX_CONCURRENCY": str(self.max_concurrency)}

    @property
    def images(self) -> int:
        """How many images must be in the folder in the end."""
        return self.jobs * self.images_each

    @property
    def prompts(self) -> list[str]:
        """Give the prompt of each line."""
        return [f"panel {number} of errand {self.seed}" for number in range(self.jobs)]


@dataclass(slots=True)
class World:
    """The running service, and the client's folder."""

    api_url: str
    upstream: SimulatorProcess
    door: BucketDoor
    workers: list[ServiceProcess]
    start_worker: Callable[[int], ServiceProcess]
    start_client: Callable[[], ServiceProcess]
    api: ServiceProcess
    folder: Path
    lives: list[Life]

    def complaints(self) -> Counter[str]:
        """Count what the service has warned of."""
        return sum((process.complaints() for process in (*self.workers, self.api)), Counter())

    def batches(self) -> list[dict[str, Any]]:
        """Read the batches that there are."""
        return list(self.get("/v1/batches").json()["data"])

    def get(self, path: str) -> httpx.Response:
        """Ask the API as the customer."""
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return httpx.get(f"{self.api_url}{path}", headers=headers, timeout=60).raise_for_status()


@contextmanager
def running_world(errand: Errand, scratch: Path) -> Iterator[World]:
    """Start everything, and write the batch's file into the folder of the client."""
    with ExitStack() as stack:
        valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
        s3 = stack.enter_context(embedded_s3(scratch / "s3"))
        upstream = stack.enter_context(simulator_process(**UPSTREAM, image_bytes=errand.image_bytes))
        client = stack.enter_context(redis.Redis.from_url(valkey.url, decode_responses=True))
        door = stack.enter_context(bucket_door(urlsplit(s3.endpoint_url).port or 0))
        env = environment(valkey.url, s3, upstream.url) | errand.settings

        def start_worker(number: int) -> ServiceProcess:
            name = f"worker-{number + 1}"
            return start_in(stack, name, "worker", "--name", name, scratch=scratch, env=env)

        workers = [start_worker(number) for number in range(errand.workers)]
        port = free_port()
        behind_the_door = env | {"DARKROOM_S3_ENDPOINT_URL": f"http://127.0.0.1:{door.port}"}
        api = start_in(stack, "api", "api", "--port", str(port), scratch=scratch, env=behind_the_door)
        api_url = f"http://127.0.0.1:{port}"
        folder = scratch / "client"
        folder.mkdir()
        lines = [orjson.dumps({"prompt": prompt, "custom_id": f"panel-{n}"}) for n, prompt in enumerate(errand.prompts)]
        (folder / FILE).write_bytes(b"\n".join(lines))
        command = ("batch", FILE, "--max-images", str(errand.images_each), "--download", FOLDER, "--json")

        def start_client() -> ServiceProcess:
            keys = {"DARKROOM_URL": api_url, "DARKROOM_API_KEY": API_KEY}
            return start_in(stack, "client", *command, scratch=scratch, env=keys)

        for worker in workers:
            wait_for(partial(consumes, worker, client, len(workers)), START_TIMEOUT_S, what="the workers")
        wait_for(lambda: answers(api, api_url), START_TIMEOUT_S, what="the api to be ready")
        yield World(api_url, upstream, door, workers, start_worker, start_client, api, folder / FOLDER, [])
