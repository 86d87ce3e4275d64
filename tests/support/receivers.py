"""The receivers of `examples/receiver`, run as their readers run them: a free port and a directory for each."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples" / "receiver"

FAILS_WHERE_TOLD = {
    "receiver.py": ("    print(", '    if os.path.exists("fail"):\n        raise RuntimeError("as told")\n    print('),
    "receiver.mjs": ("  console.log(", '  if (existsSync("fail")) throw new Error("as told");\n  console.log('),
}
"""How each example is changed so that its `act` fails while a file `fail` lies beside it."""


@dataclass(frozen=True, slots=True)
class RunningReceiver:
    """A receiver that listens at `url`."""

    url: str
    directory: Path

    @property
    def acted(self) -> list[str]:
        """What it has printed, a line each time it acted."""
        return (self.directory / "stdout").read_text().splitlines()


@contextmanager
def running_receiver(example: str, directory: Path, secret: str) -> Iterator[RunningReceiver]:
    """Run `receiver.py` or `receiver.mjs` in this directory until the end of the block, which kills it.

    What it remembers stays. For `receiver.mjs` the directory lies in one that `npm.install` has filled.
    """
    source = (EXAMPLES / example).read_text()
    before, after = FAILS_WHERE_TOLD[example]
    assert source.count(before) == 1
    (directory / example).write_text(source.replace(before, after))
    command = (
        [sys.executable, "-m", "uvicorn", "receiver:app", "--port", "0", "--no-access-log"]
        if example.endswith(".py")
        else [str(shutil.which("node")), "receiver.mjs"]
    )
    errors = directory / "stderr"
    with open(directory / "stdout", "a") as stdout, open(errors, "w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | {"DARKROOM_WEBHOOK_SECRET": secret, "PORT": "0"},
            stdout=stdout,
            stderr=stderr,
        )
    try:
        port = wait_until(lambda: _port(process, errors), what=f"{example} listening")
        yield RunningReceiver(f"http://127.0.0.1:{port}/", directory)
    finally:
        process.kill()
        process.wait(20)


def _port(process: subprocess.Popen[bytes], errors: Path) -> str | None:
    assert process.poll() is None, errors.read_text()
    found = re.search(r"(?:running on http://127\.0\.0\.1:|listening on )(\d+)", errors.read_text())
    return found[1] if found else None
