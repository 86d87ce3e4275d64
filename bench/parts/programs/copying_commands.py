"""Copies by commands of a shell, one each, so many at once; what their processes use is counted."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

from bench.parts.programs.telling import Taking, task


def main() -> None:
    """Run each command; the first that fails ends it all."""
    given = task()

    def run(command: str) -> None:
        subprocess.run(["/bin/bash", "-o", "pipefail", "-c", command], check=True, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(given["at_once"]) as pool, Taking() as taking:
        list(pool.map(run, given["commands"]))
    taking.tell(len(given["commands"]))


main()
