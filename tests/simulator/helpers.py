"""The vendor's calls as a test makes them, and somewhere for callbacks to go."""

from __future__ import annotations

import io
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from PIL import Image

from simulator.testing import MODEL_PATH, RunningSimulator

#: Nothing here is https; one empty context for all saves loading the certificates for each test.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Client:
    """Plain HTTP with a key, no cleverness."""

    def __init__(self, sim: RunningSimulator, key: str = "test-key") -> None:
        self.sim = sim
        self.http = httpx.Client(
            base_url=sim.url, headers={"Authorization": f"Bearer {key}"}, timeout=10, verify=_NO_TLS, trust_env=False
        )

    def submit(self, prompt: str = "a fox", *, webhook: str | None = None, **fields: Any) -> httpx.Response:
        """POST a submit and return whatever comes."""
        return self.http.post(
            MODEL_PATH, json={"prompt": prompt, **fields}, params={"webhook": webhook} if webhook else None
        )

    def created(self, prompt: str = "a fox", **fields: Any) -> str:
        """Submit, expect success, return the id."""
        answer = self.submit(prompt, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["id"])

    def look(self, prediction_id: str) -> dict[str, Any]:
        """Return the data of a result call."""
        data: dict[str, Any] = self.http.get(f"/api/v3/predictions/{prediction_id}/result").raise_for_status().json()
        return dict(data["data"])

    def done(self, prediction_id: str) -> dict[str, Any]:
        """Wait until a prediction is terminal and return it."""
        terminal = {"completed", "failed", "cancelled", "timeout", "deleted"}
        self.sim.wait_until(lambda: self.look(prediction_id)["status"] in terminal)
        return self.look(prediction_id)

    def list(self, **query: Any) -> dict[str, Any]:
        """Return the data of a list call."""
        answer = self.http.post("/api/v3/predictions", json={"page": 1, "page_size": 100, **query}).raise_for_status()
        return dict(answer.json()["data"])

    def balance(self) -> float:
        """Return the account's balance."""
        return float(self.http.get("/api/v3/balance").raise_for_status().json()["data"]["balance"])

    def picture(self, url: str) -> Image.Image:
        """Download and fully decode a picture."""
        image = Image.open(io.BytesIO(self.http.get(url).raise_for_status().content))
        image.load()
        return image


@dataclass(frozen=True)
class Received:
    """One callback as it arrived."""

    headers: dict[str, str]
    body: bytes
    at: float


class CallbackReceiver:
    """An HTTP server that keeps what is posted to it and answers with the statuses it was given, then 200."""

    def __init__(self, statuses: list[int]) -> None:
        self.received: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(headers, body, time.time()))
                self.send_response(statuses.pop(0) if statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=abc"

    def wait(self, count: int, timeout_s: float = 10.0) -> list[Received]:
        """Wait until so many have arrived."""
        deadline = time.monotonic() + timeout_s
        while len(self.received) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.received)} of {count} callbacks came")
            threading.Event().wait(0.005)
        return self.received


@contextmanager
def receiving_callbacks(*statuses: int) -> Iterator[CallbackReceiver]:
    """Listen for callbacks on a free port."""
    receiver = CallbackReceiver(list(statuses))
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()
