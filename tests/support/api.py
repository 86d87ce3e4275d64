"""A real API on a real port, in a thread of the test process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from api.services import Services
from deploy.embedded.processes import free_port
from tests.support.waiting import wait_until


@dataclass(slots=True)
class RunningApi:
    """Where an API listens."""

    url: str
    app: FastAPI

    @property
    def watches(self) -> int:
        """How many requests wait for a job to change."""
        services: Services = self.app.state.services
        return services.watcher.count

    @property
    def is_idle(self) -> bool:
        """Whether every wake-up call that it was asked for has gone out."""
        services: Services = self.app.state.services
        return services.waker.is_idle

    def client(self, key: str | None = None) -> httpx.Client:
        """Open a client with a key; the caller closes it."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=False)


@contextmanager
def running_api(app: FastAPI) -> Iterator[RunningApi]:
    """Serve until the end of the context."""
    port = free_port()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the API to start")
        assert server.started
        yield RunningApi(f"http://127.0.0.1:{port}", app)
    finally:
        app.state.services.watcher.let_go()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
