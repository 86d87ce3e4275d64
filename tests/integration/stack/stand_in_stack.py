"""Supervises stand-ins: `stand_in_stack.py DIRECTORY NAME:MODE:STAGE…`; writes `ready` once all run."""

import asyncio
import os
import sys
from pathlib import Path

from deploy.embedded.child import Ready, Service
from deploy.embedded.output import Output
from deploy.embedded.processes import Command
from deploy.embedded.supervisor import Supervisor

SERVICE = str(Path(__file__).with_name("stand_in_service.py"))


def service(directory: Path, text: str) -> Service:
    name, mode, stage = text.split(":")
    command = Command(name, (sys.executable, SERVICE, str(directory), name, mode), {"STAND_IN": "yes"})
    return Service(command, lives(directory / f"{name}.pid"), int(stage), grace_s=1.0 if mode == "stubborn" else 20.0)


def lives(pid_file: Path) -> Ready:
    def runs() -> bool:
        if not pid_file.exists():
            return False
        try:
            os.kill(int(pid_file.read_text()), 0)
        except ProcessLookupError:
            return False
        return True

    async def ready(_started_at: float) -> bool:
        return runs()

    return ready


def main() -> None:
    directory = Path(sys.argv[1])
    supervisor = Supervisor([service(directory, text) for text in sys.argv[2:]], output=Output())
    sys.exit(asyncio.run(supervisor.run(started=(directory / "ready").touch)))


if __name__ == "__main__":
    main()
