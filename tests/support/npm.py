"""JavaScript packages for the tests that need some, exactly as their lock has them.

`make test` promises to run where there is Python, make and Python's package index, and no more: there these tests are
skipped, and the same signatures are verified by the Python libraries, which never are.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

TIMEOUT_S = 60
_UNREACHABLE = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ERR_SOCKET_TIMEOUT",
    "ENETUNREACH",
)


def install(source: Path, target: Path) -> Path:
    """Install what the `package-lock.json` in `source` says into the directory `target` and return it.

    Skips the test where there is no node, or no way to the registry; whatever else npm says fails it.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, target)
    try:
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"],
            cwd=target,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the npm registry did not answer within {TIMEOUT_S} s")
    if done.returncode and any(f"code {code}" in done.stderr for code in _UNREACHABLE):
        pytest.skip("the npm registry can't be reached")
    assert done.returncode == 0, done.stderr
    return target
