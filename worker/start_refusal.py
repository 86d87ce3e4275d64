"""How a worker that can't start says why: the same line that the command line writes."""

import sys


def refuse(*problems: str) -> None:
    """Write a line for each problem on standard error; the caller ends the process."""
    for problem in problems:
        print(f"darkroom: {problem}", file=sys.stderr)  # noqa: T201
