"""Runs one side of a part as a process, and gives what it did, how long, by how much CPU and memory."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.figures import BenchError, Figure, figure
from bench.machine import ROOT
from bench.memory import MB, Sampler
from bench.peers.sides import BIN, Tree
from bench.processes import clean_environment
from deploy.embedded.processes import die_with_parent, kill

PROGRAMS = "bench.parts.programs"
SAMPLE_EVERY_S = 0.1
DARKROOM = "darkroom"


@dataclass(frozen=True, slots=True)
class Side:
    """Who does the part, and by which module; Darkroom's in this environment, others' in the peers'."""

    name: str
    module: str

    @property
    def python(self) -> str:
        """The interpreter that has what it needs: a quick run makes do with this environment."""
        theirs = BIN / "python"
        return str(theirs) if not self.name.startswith(DARKROOM) and theirs.exists() else sys.executable


@dataclass(frozen=True, slots=True)
class Seen:
    """One side's work of one round."""

    part: str
    case: str
    round: int
    side: str
    done: int
    seconds: float
    cpu_s: float
    peak_rss_bytes: int

    def raw(self) -> dict[str, Any]:
        """Give it for the raw records."""
        return asdict(self)


def run_side(
    side: Side, task: Mapping[str, Any], *, part: str, case: str, number: int, environment: Mapping[str, str]
) -> Seen:
    """Give a side its task, and watch it until it has told what it took.

    Raises:
        BenchError: it failed.
    """
    process = subprocess.Popen(
        [side.python, "-m", f"{PROGRAMS}.{side.module}"],
        cwd=ROOT,
        env=clean_environment() | dict(environment) | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent(),
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise BenchError("a process without pipes")
        with Sampler(Tree(process.pid), every_s=SAMPLE_EVERY_S) as sampler:
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise BenchError(f"{part}: {side.name} ended with {process.wait()}")
        process.communicate()
    finally:
        kill(process)
    said = json.loads(line)
    peak = max(sample.rss_bytes for sample in sampler.samples)
    return Seen(part, case, number, side.name, said["done"], said["seconds"], said["cpu_s"], peak)


def compare(seen: list[Seen], what: str, unit: str, *, amount: float = 1.0) -> list[Figure]:
    """Give for each case and side what it did a CPU-second and a second (`amount` each time), and its memory."""
    figures = []
    for case, side in dict.fromkeys((item.case, item.side) for item in seen):
        mine = [item for item in seen if (item.case, item.side) == (case, side)]
        label = f"{case}, {side}"
        figures += [
            figure(label, f"{what} a CPU-second", unit, *(round(item.done * amount / item.cpu_s, 1) for item in mine)),
            figure(label, f"{what} a second", unit, *(round(item.done * amount / item.seconds, 1) for item in mine)),
            figure(label, "RSS at its peak", "MB", *(round(item.peak_rss_bytes / MB, 1) for item in mine)),
        ]
    return figures
