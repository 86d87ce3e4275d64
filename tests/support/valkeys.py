"""Real Valkeys beside the shared one: with settings of the test's own, and replicas of each other."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from deploy.embedded.processes import stop
from deploy.embedded.valkey import EmbeddedValkey, embedded_valkey
from tests.support.waiting import wait_until


@contextmanager
def valkey(data_dir: Path, **settings: str) -> Iterator[EmbeddedValkey]:
    """Run one more Valkey; `settings` are set while it runs (`_` in their names means `-`)."""
    with embedded_valkey(data_dir) as server:
        if settings:
            with client_of(server) as client:
                for name, value in settings.items():
                    client.config_set(name.replace("_", "-"), value)
        yield server


def client_of(server: EmbeddedValkey) -> "redis.Redis":
    """Open a client; the caller closes it."""
    return redis.Redis.from_url(server.url, decode_responses=True, encoding_errors="surrogateescape")


@contextmanager
def replica_of(primary: EmbeddedValkey, data_dir: Path) -> Iterator[EmbeddedValkey]:
    """Run a Valkey that follows another and has caught up; it ends even while it is stopped."""
    with embedded_valkey(data_dir) as server:
        try:
            with client_of(server) as client:
                client.config_set("masterauth", primary.url.partition("://:")[2].partition("@")[0])
                client.replicaof("127.0.0.1", str(primary.port))
                wait_until(
                    lambda: client.info("replication")["master_link_status"] == "up", what="the replica to follow"
                )
            yield server
        finally:
            if server.process.poll() is None:
                os.kill(server.process.pid, signal.SIGCONT)
            stop(server.process)


def freeze(server: EmbeddedValkey) -> None:
    """Stop a server where it stands."""
    os.kill(server.process.pid, signal.SIGSTOP)


def thaw(server: EmbeddedValkey) -> None:
    """Let it go on."""
    os.kill(server.process.pid, signal.SIGCONT)
