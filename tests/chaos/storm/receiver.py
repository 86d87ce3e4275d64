"""A webhook receiver that fails at random, and keeps all that it was sent and what it answered."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from standardwebhooks import Webhook

HANGS_S = 2.5
"""Longer than the service waits in a storm."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One POST: its id and body, and the status it was answered with (0: none)."""

    webhook_id: str
    body: dict[str, Any]
    answered: int


@dataclass(slots=True)
class StormReceiver:
    """What arrived. `failing` is the share of requests that get no 204."""

    url: str
    secret: str
    rng: random.Random
    failing: float = 0.25
    down: bool = False
    hooks: list[Hook] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Keep a request and decide what it is answered: a status, 0 for none, -1 for much too late."""
        with self.lock:
            try:
                Webhook(self.secret).verify(body, headers)
            except Exception as error:  # whatever the library finds wrong is a finding
                self.unverified.append(f"{headers.get('webhook-id')}: {error!r}")
            status = 204
            if self.down:
                status = 503
            elif self.rng.random() < self.failing:
                status = self.rng.choice([500, 503, 429, 302, 0, -1])
            self.hooks.append(Hook(headers["webhook-id"], orjson.loads(body), status))
            return status


@contextmanager
def storm_receiver(seed: int, secret: str) -> Iterator[StormReceiver]:
    """Receive on a free port of this machine until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
            if status <= 0:
                time.sleep(HANGS_S if status else 0)
                self.close_connection = True
                return
            self.send_response(status)
            if status in (429, 503):
                self.send_header("Retry-After", "1")
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = StormReceiver(f"http://127.0.0.1:{server.server_port}/hook", secret, random.Random(seed))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
