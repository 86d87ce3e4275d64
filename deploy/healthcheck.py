"""What a container's health check runs: `python -m deploy.healthcheck api|worker`, exit code 0 when it is healthy.

The same as `darkroom health api|worker`, without the command line's own imports.
"""

import sys
from typing import cast

from darkroom.health import Role, UnknownHealthError, problem_of


def main(arguments: list[str]) -> int:
    """Check the role named; say why on stderr if it is not healthy."""
    if arguments not in (["api"], ["worker"]):
        sys.stderr.write("usage: python -m deploy.healthcheck api|worker\n")
        return 2
    try:
        problem = problem_of(cast(Role, arguments[0]))
    except UnknownHealthError as error:
        sys.stderr.write(f"not known; {error}\n")
        return 0
    if problem:
        sys.stderr.write(problem + "\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
