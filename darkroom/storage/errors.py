"""What can go wrong between an output and the bucket, by what the caller does next. No text holds a URL's query."""

from darkroom.errors import PermanentError, RetryableError


class SourceUnavailableError(RetryableError):
    """The source answers with an error of its own, stalls, or breaks off early; nothing of it was stored."""


class OutputMissingError(RetryableError):
    """The source says that there is no such output (yet, or any longer): read the result again, then retry a while."""

    def __init__(self, message: str, *, status: int, delay_s: float = 2.0) -> None:
        super().__init__(message, delay_s=delay_s)
        self.status = status


class OutputInvalidError(RetryableError):
    """What came is no png, jpg or webp: worth a few tries, then the job's `output_unavailable`."""


class OutputTooLargeError(PermanentError):
    """The output is larger than any image this service copies."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="output_unavailable")


class StorageUnavailableError(RetryableError):
    """The bucket can't take or give anything just now; what was being written may or may not be there."""


class StorageRefusedError(StorageUnavailableError):
    """The bucket answers, and says no: missing, other credentials, another region. For the operator to mend.

    `status` is the HTTP status, `s3_code` the service's own word for it where it gave one.
    """

    def __init__(self, message: str, *, status: int, s3_code: str | None, delay_s: float = 15.0) -> None:
        super().__init__(message, delay_s=delay_s)
        self.status = status
        self.s3_code = s3_code
