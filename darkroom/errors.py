"""The few kinds of error there are, by what the caller does next."""


class DarkroomError(Exception):
    """Base of every error that Darkroom raises on purpose."""


class ConfigurationError(DarkroomError):
    """A setting is wrong or missing: refuse to start. `problems` holds one line a variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class RetryableError(DarkroomError):
    """The same thing may be tried again later and nothing was spent; `delay_s` is the earliest time worth trying."""

    def __init__(self, message: str, *, delay_s: float = 1.0) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class PermanentError(DarkroomError):
    """Trying again can't help. `code` is the job's public error code."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class StaleLeaseError(DarkroomError):
    """Somebody else owns this piece of work now: stop quietly and touch nothing."""
