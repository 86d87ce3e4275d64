"""What can come of a call upstream, as values: expected answers are no exceptions.

Addresses of outputs are signed, so they are left out of every `repr`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from darkroom.jobs import ErrorCode

MODEL = "bytedance/seedream-v4.5/sequential"

ErrorKind = Literal["permanent", "transient", "vague"]
"""Whether a new attempt can help: never, likely, or worth one try."""

NotNowReason = Literal["rate", "balance", "auth", "upstream"]


@dataclass(frozen=True, slots=True)
class Submission:
    """What one submit asks for."""

    prompt: str
    size: str
    max_images: int
    enable_base64_output: bool = False
    enable_sync_mode: bool = False

    def body(self) -> dict[str, Any]:
        """Give the request's five fields; upstream knows no others."""
        return {
            "prompt": self.prompt,
            "size": self.size,
            "max_images": self.max_images,
            "enable_base64_output": self.enable_base64_output,
            "enable_sync_mode": self.enable_sync_mode,
        }


@dataclass(frozen=True, slots=True)
class OutputRef:
    """One entry of `outputs`: an address, or base64 text (`base64`), or neither, and then `note` says why."""

    index: int
    url: str | None = field(default=None, repr=False)
    base64: bool = False
    note: str | None = None

    @property
    def usable(self) -> bool:
        """Whether there is an image to fetch."""
        return self.url is not None or self.base64


@dataclass(frozen=True, slots=True)
class PredictionInput:
    """The request as upstream remembers it; what it left out is None."""

    prompt: str
    size: str | None
    max_images: int | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Upstream's unit of work. `status` is upstream's own word, `nsfw` has one entry an output."""

    id: str
    model: str
    status: str
    outputs: tuple[OutputRef, ...] = ()
    nsfw: tuple[bool | None, ...] = ()
    inference_ms: int | None = None
    created_at: str | None = None
    error: str = ""
    code: int | None = None
    input: PredictionInput | None = None


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """Why a generation failed or was refused: the job's error `code`, and what upstream said, fit to be shown."""

    code: ErrorCode
    message: str
    kind: ErrorKind
    upstream: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A prediction exists and is billed; in sync mode it may already be finished (`mapping.outcome_of` tells)."""

    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Refused:
    """Upstream refused this very request and created nothing; sending it again is pointless."""

    error: UpstreamError


@dataclass(frozen=True, slots=True)
class CallbackRefused:
    """Upstream does not take the address that it was to call back, and created nothing; the job is not at fault."""

    message: str


@dataclass(frozen=True, slots=True)
class NotNow:
    """Upstream created nothing, for a reason that seems not to be the job's: back to the line with it.

    `refusal` is what it is instead if nothing is wrong with the account and other jobs are taken; None where it can't
    be the job's fault. `is_echo`: all its words of money stand in the prompt as well.
    """

    reason: NotNowReason
    retry_after_s: float | None
    message: str
    refusal: UpstreamError | None = None
    is_echo: bool = False


@dataclass(frozen=True, slots=True)
class NeverLeft:
    """The request provably never left this machine: safe to send again.

    `held_up`: because this process was too slow to send it in time, which says nothing about upstream.
    """

    message: str
    held_up: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Money may be spent: the request may have left between the two times, and no id came. Reconcile, never repeat."""

    message: str
    status: int | None
    sent_at: datetime
    ended_at: datetime


SubmitOutcome = Accepted | Refused | CallbackRefused | NotNow | NeverLeft | Unknown


@dataclass(frozen=True, slots=True)
class Pending:
    """Not finished yet; so is every status that nobody has heard of."""

    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Completed:
    """Finished, with at least one usable output."""

    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Failed:
    """Finished without an image."""

    prediction: Prediction
    error: UpstreamError


@dataclass(frozen=True, slots=True)
class NotFound:
    """Upstream knows no such prediction: not yet, or no longer."""

    message: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No usable answer; look again later, not before `retry_after_s` where upstream named it."""

    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The key was not accepted: the lane's trouble, not the prediction's."""

    message: str


LookOutcome = Pending | Completed | Failed | NotFound | Unavailable | Unauthorized


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of the account's predictions, newest first.

    `complete` says that every entry could be read: a page that is not proves the absence of nothing. `is_last` says
    that no further page follows. `server_date` is upstream's clock.
    """

    items: tuple[Prediction, ...]
    total: int | None
    server_date: datetime | None
    complete: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class Price:
    """What a submission would cost."""

    price: float
    discounted_price: float
    currency: str


@dataclass(frozen=True, slots=True)
class Billing:
    """One charge or refund of a prediction."""

    id: str
    prediction_id: str | None
    billing_type: str
    price: float
    created_at: str | None
