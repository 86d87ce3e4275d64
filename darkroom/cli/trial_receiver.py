"""A small HTTP server that verifies webhooks and says what came: what listens in `darkroom webhooks listen`."""

import json
import queue
import socket
import socketserver
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

MOST_BYTES = 1024 * 1024
IDLE_S = 60
NOT_VERIFIED = 401


@dataclass(frozen=True, slots=True)
class Arrival:
    """One POST that arrived. What its body and headers say is not to be believed unless `problem` is None."""

    at: datetime
    problem: str | None
    answered: int
    webhook_id: str | None
    repeat: bool
    size_bytes: int
    type: str | None = None
    job_id: str | None = None
    status: str | None = None


class TrialReceiver(socketserver.ThreadingTCPServer):
    """Verifies every POST with any of the secrets and puts it into `arrivals` once it is answered.

    What verifies is answered `status`, anything else 401; after `most` of them it is 503 without a word.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], secrets: Sequence[str], *, status: int, most: int | None) -> None:
        """Listen on host and port (0: a free one); `serve_forever` answers.

        Raises:
            OSError: the port is taken, or the address is not this machine's.
        """
        self.status = status
        self.arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self.turn = threading.Lock()
        """Held while one is answered and put down, so that what is told keeps the order of the answers."""
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._left = most
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    @property
    def host(self) -> str:
        """The address at which this machine reaches it."""
        host = str(self.server_address[0])
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.server_address[1]}/"

    def take(self) -> bool:
        """Count one more delivery; False if there were enough."""
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0

    def judge(self, body: bytes, headers: dict[str, str]) -> Arrival:
        """Verify one delivery and read what is shown of it."""
        problem = self._problem(body, headers)
        webhook_id = headers.get("webhook-id")
        with self._lock:
            repeat = problem is None and webhook_id in self._seen
            if problem is None and webhook_id:
                self._seen.add(webhook_id)
        answered = self.status if problem is None else NOT_VERIFIED
        return Arrival(datetime.now(UTC), problem, answered, webhook_id, repeat, len(body), **_told(body))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a sender that hangs up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def _problem(self, body: bytes, headers: dict[str, str]) -> str | None:
        """Say why a delivery is not one of ours; None if it is. Of several secrets the last one's word counts."""
        problem = None
        for webhook in self._webhooks:
            try:
                webhook.verify(body, headers, json_parse=False)
            except WebhookVerificationError as error:
                problem = str(error)
            except ValueError:
                problem = "the signature's or the body's encoding is broken"
            else:
                return None
        return problem


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "darkroom-listen", ""
    timeout = IDLE_S
    server: TrialReceiver

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._answer(411, close=True)
        elif int(length) > MOST_BYTES:
            self._answer(413, close=True)
        else:
            self._receive(int(length))

    def do_GET(self) -> None:
        self._answer(405)

    def _receive(self, length: int) -> None:
        body = self.rfile.read(length)
        if len(body) < length:  # the sender has hung up
            self.close_connection = True
        elif not self.server.take():
            self._answer(503, close=True)
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            arrival = self.server.judge(body, headers)
            with self.server.turn:
                try:
                    self._answer(arrival.answered)
                finally:
                    self.server.arrivals.put(arrival)

    def _answer(self, status: int, *, close: bool = False) -> None:
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Length", "0")
        if status == 405:
            self.send_header("Allow", "POST")
        if close:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: what arrives is told by the command."""


def _told(body: bytes) -> dict[str, str | None]:
    """Read what is shown of a body; nothing where it is not an event."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    data = event.get("data") if isinstance(event, dict) else None
    data = data if isinstance(data, dict) else {}
    return {
        "type": _text(event.get("type")) if isinstance(event, dict) else None,
        "job_id": _text(data.get("id")),
        "status": _text(data.get("status")),
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
