"""A whole service of real processes: api and workers on a real Valkey, a real bucket and the simulator."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Any

import httpx
import orjson
import redis

from darkroom.store import keys
from deploy.embedded.s3 import EmbeddedS3
from tests.support.forwarder import Forwarder, certificate_of_this_machine
from tests.support.receiver import Receiver
from tests.support.waiting import wait_until

API_KEY = "dk_test"
ADMIN_KEY = "dk_admin"
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TERMINAL = ("completed", "failed", "canceled", "expired")
START_S = 30.0


class Process:
    """One process of the service, its output kept."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "darkroom.cli", *arguments]
        self.popen = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.popen.stdout or ():
            self.lines.append(line)

    @property
    def output(self) -> str:
        """Everything it has said so far."""
        return "".join(self.lines)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self.popen.kill()
        self.popen.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def stop(self, timeout_s: float = 75) -> int:
        """End it with SIGTERM and give its exit code."""
        if self.popen.poll() is None:
            self.popen.terminate()
        code = self.popen.wait(timeout_s)
        self._reader.join(5)
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        return code


class Fleet:
    """Starts processes of the service and talks to its API as a customer does."""

    def __init__(self, *, redis_url: str, s3: EmbeddedS3, bucket: str, upstream_url: str, **settings: Any) -> None:
        ours = ("DARKROOM_", "WAVESPEED_", "AWS_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
            "WAVESPEED_API_KEY": "ws_test",
            "WAVESPEED_BASE_URL": upstream_url,
            "WAVESPEED_TIER": "ultra",
            "DARKROOM_REDIS_URL": redis_url,
            "DARKROOM_S3_BUCKET": bucket,
            "DARKROOM_S3_ENDPOINT_URL": s3.endpoint_url,
            "DARKROOM_S3_REGION": s3.region,
            "DARKROOM_S3_ADDRESSING": "path",
            "AWS_ACCESS_KEY_ID": s3.access_key_id,
            "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
            "DARKROOM_API_KEYS": f"acme:{API_KEY},other:dk_other",
            "DARKROOM_ADMIN_KEYS": ADMIN_KEY,
            "DARKROOM_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "DARKROOM_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
            "DARKROOM_WEBHOOK_RETRY_SCHEDULE": "0,1,1,1,1,1",
            "DARKROOM_POLL_MIN_SECONDS": "0.2",
            **{name: str(value) for name, value in settings.items()},
        }
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True, encoding_errors="surrogateescape")
        self.receiver = Receiver()
        self._processes: list[Process] = []
        self._front: Forwarder | None = None
        self._client: httpx.Client | None = None

    def call_back(self) -> None:
        """Have upstream call back, through an https front of its own; before any worker or api is started."""
        self._front = Forwarder(_free_port(), tls=certificate_of_this_machine())
        self.environment |= {
            "WAVESPEED_CALLBACKS": "on",
            "DARKROOM_PUBLIC_URL": f"https://127.0.0.1:{self._front.port}",
        }

    def start_worker(self, name: str = "w1", *arguments: str, **settings: Any) -> Process:
        """Start a worker and wait until it has given a sign of life."""
        process = self._start(["worker", "--name", name, "--concurrency", "8", *arguments], settings)
        wait_until(
            lambda: self._alive(process, f"{name}@"), START_S, what=f"worker {name} alive, said: {process.output}"
        )
        return process

    def _alive(self, process: Process, prefix: str) -> bool:
        if process.popen.poll() is not None:
            raise AssertionError(f"the process ended: {process.output}")
        signs = [
            orjson.loads(value)
            for name, value in self.redis.hgetall(keys.WORKERS).items()  # type: ignore[union-attr]
            if name.startswith(prefix)
        ]
        return any(sign["pid"] == process.popen.pid for sign in signs)

    def start_api(self, **settings: Any) -> Process:
        """Start the ingress on a free port and wait until it answers."""
        with httpx.Client(timeout=10) as probe:
            process = self._start(["api", "--port", str(_free_port())], settings)
            port = int(process.popen.args[-1])  # type: ignore[index]
            base_url = f"http://127.0.0.1:{port}"

            def answers() -> bool:
                if process.popen.poll() is not None:
                    raise AssertionError(f"the api ended: {process.output}")
                try:
                    return probe.get(f"{base_url}/healthz").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(answers, START_S, what="api answers")
        if self._front is not None:
            self._front.switch(port)
        if self._client is not None:
            self._client.close()
        headers = {"Authorization": f"Bearer {API_KEY}"}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=70)
        return process

    def _start(self, arguments: list[str], settings: dict[str, Any]) -> Process:
        environment = self.environment | {name: str(value) for name, value in settings.items()}
        process = Process(arguments, environment)
        self._processes.append(process)
        return process

    @property
    def client(self) -> httpx.Client:
        """A customer's HTTP client."""
        if self._client is None:
            raise AssertionError("start_api first")
        return self._client

    def submit(self, prompt: str = "a fox in four panels", **fields: Any) -> str:
        """Post a job and give its id."""
        response = self.client.post("/v1/jobs", json={"prompt": prompt, **fields})
        assert response.status_code == 202, response.text
        job_id: str = response.json()["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        """Read a job."""
        response = self.client.get(f"/v1/jobs/{job_id}")
        assert response.status_code == 200, response.text
        job: dict[str, Any] = response.json()
        return job

    def wait_for(self, job_id: str, *statuses: str, timeout_s: float = 30) -> dict[str, Any]:
        """Wait until a job has one of these statuses (default: any terminal one)."""
        wanted = statuses or TERMINAL

        def reached() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in wanted else None

        return wait_until(reached, timeout_s, what=f"{job_id} {'/'.join(wanted)}")  # type: ignore[return-value]

    def wait_for_all(self, job_ids: Iterable[str], timeout_s: float = 60) -> list[dict[str, Any]]:
        """Wait until every one of these jobs is terminal."""
        return [self.wait_for(job_id, timeout_s=timeout_s) for job_id in job_ids]

    def close(self) -> None:
        """End every process that was started, hard where it does not end by itself."""
        for process in self._processes:
            if process.popen.poll() is None:
                process.signal(signal.SIGCONT)
                process.popen.terminate()
        for process in self._processes:
            try:
                process.stop(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.stop()
        if self._client is not None:
            self._client.close()
        if self._front is not None:
            self._front.close()
        self.receiver.close()
        self.redis.close()


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
