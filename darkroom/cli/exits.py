"""What a client command's exit code says, in one place."""

from enum import IntEnum


class ExitCode(IntEnum):
    """0 is what it always is."""

    OK = 0
    REFUSED = 1
    """The service can't be reached or says no, or something could not be fetched."""
    USAGE = 2
    """The command line, a file or a setting is wrong; nothing was sent."""
    NOT_COMPLETED = 3
    """The job, or one of the batch's, ended failed, canceled or expired."""
    TIMEOUT = 4
    """It was not over in time; it goes on."""
    INTERRUPTED = 130
    """Ctrl-C, as shells say it (128 + SIGINT)."""
