"""A stand-in for a process of the stack: `stand_in_service.py DIRECTORY NAME [stubborn|broken|misconfigured|parent]`.

Writes `NAME.pid` once it runs and adds its name to `stopped` when it is asked to stop.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

directory, name, mode = Path(sys.argv[1]), sys.argv[2], (sys.argv[3:] or ["obedient"])[0]


def stop(_number: int, _frame: object) -> None:
    with (directory / "stopped").open("a") as file:
        file.write(name + "\n")
    if mode != "stubborn":
        sys.exit(0)


def publish(file_name: str, pid: int) -> None:
    draft = directory / f".{file_name}"
    draft.write_text(str(pid))
    draft.rename(directory / file_name)


signal.signal(signal.SIGTERM, stop)
with (directory / f"{name}.starts").open("a") as file:
    file.write(f"{os.getpid()}\n")
if mode == "broken":
    os.write(1, b"can't go on" + b"\n")
    sys.exit(1)
if mode == "misconfigured":
    os.write(1, b"DARKROOM_PORT: must be a number" + b"\n")
    sys.exit(2)
if mode == "parent":
    publish(f"{name}.grandchild", subprocess.Popen(["sleep", "600"]).pid)
os.write(1, f"{name} runs".encode() + b"\n")
publish(f"{name}.pid", os.getpid())
while True:
    signal.pause()
