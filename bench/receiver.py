"""A webhook receiver that notes when each event arrived, on the clock that the other processes use."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.figures import BenchError


@dataclass(slots=True)
class Receiver:
    """What arrived: the first event of each job with its time, and how often each job was told of."""

    url: str
    arrived_at: dict[str, float] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    prompts: dict[str, str] = field(default_factory=dict)

    def take(self, body: bytes, at: float) -> None:
        """Note one event."""
        job = json.loads(body)["data"]
        self.times[job["id"]] += 1
        self.prompts[job["id"]] = job["request"]["prompt"]
        self.statuses.setdefault(job["id"], job["status"])
        self.arrived_at.setdefault(job["id"], at)

    def check(self, job_ids: list[str]) -> None:
        """Raise `BenchError` unless each of these jobs was told of exactly once, as completed."""
        wrong = {
            job_id: (self.statuses.get(job_id), self.times[job_id])
            for job_id in job_ids
            if (self.statuses.get(job_id), self.times[job_id]) != ("completed", 1)
        }
        if wrong:
            raise BenchError(f"webhooks that are not one `completed` a job: {wrong}")


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Receive on a free port of this machine until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            at = time.time()
            receiver.take(self.rfile.read(int(self.headers["Content-Length"])), at)
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
