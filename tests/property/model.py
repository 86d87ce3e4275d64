"""The rules of jobs and attempts in plain Python: what every move must answer and leave behind.

Written from the contract, not from the scripts: no keys, no timers, no limits. What those must look like is derived
from the store itself by `tests.support.conservation`.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.property.batch_model import ModelBatch

LIVE = ("admitted", "submitting", "unconfirmed", "generating", "storing")
TERMINAL = ("completed", "failed", "canceled", "expired")
DEFAULT_EVENTS = frozenset({"job.completed", "job.failed", "job.canceled", "job.expired"})

DONE, NOTHING, STALE = 1, 0, -1


@dataclass
class Try:
    """One attempt: who may work on it (`lease`), what it sent and what upstream called that."""

    number: int
    state: str = ""
    lease: int = 0
    sends: int = 0
    prediction: str = ""
    duplicates: list[str] = field(default_factory=list)
    failed_in: str = ""
    adopted: bool = False
    by_operator: bool = False
    asked: bool = False
    taken_back: bool = False
    listing: str = ""
    listings: int = 0
    absent: int = 0
    done_as: int = 0
    refusals: int = 0
    refused_send: int = 0
    called: bool = False

    def move(self, state: str) -> None:
        """Go on to a state under a new lease."""
        self.state = state
        self.lease += 1

    @property
    def only_concluded(self) -> bool:
        """Whether it works on a prediction that was concluded to be its only send's: a fact may replace that."""
        return self.state == "generating" and self.adopted and not self.by_operator and self.sends == 1

    def is_given(self, prediction: str) -> None:
        """Go on with a prediction; upstream has not called back about another one than before."""
        self.called = self.called and self.prediction == prediction
        self.prediction = prediction

    def called_back(self, prediction: str) -> bool:
        """Hear that it ended: whoever looks is to look again. Says whether it is looked at."""
        if self.prediction != prediction or self.called:
            return False
        self.called = True
        self.lease += int(self.state == "generating")
        return self.state == "generating"


@dataclass
class ModelJob:
    """One job and all that was ever told of it."""

    job_id: str
    tenant: str
    images: int
    priority: str
    wanted: frozenset[str]
    has_deadline: bool
    order: int
    batch: "ModelBatch | None" = None
    status: str = "queued"
    attempt: int = 1
    tries: dict[int, Try] = field(default_factory=lambda: {1: Try(1)})
    spent: int = 0
    submits: int = 0
    cancel_requested: bool = False
    deadline_passed: bool = False
    error: str = ""
    resolved: bool = False
    late: list[int] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def __setattr__(self, name: str, value: Any) -> None:
        """Let its batch count what becomes of it."""
        before = getattr(self, name, value)
        super().__setattr__(name, value)
        if name == "status" and self.batch is not None:
            self.batch.moved(before, value)

    @property
    def current(self) -> Try:
        """The attempt that the job's status is about."""
        return self.tries[self.attempt]

    @property
    def waiting(self) -> bool:
        """Whether it stands in the line."""
        return self.status == "queued" and self.current.state in ("", "queued")

    @property
    def over(self) -> bool:
        """Whether it has ended and nothing of it goes on, so that its time runs."""
        return self.status in TERMINAL and not any(item.state in LIVE for item in self.tries.values())

    @property
    def canceled_with_batch(self) -> bool:
        """Whether its batch was canceled while it had the place that it has."""
        return self.batch is not None and self.order <= self.batch.canceled_upto

    def is_current(self, item: Try) -> bool:
        """Whether this attempt still decides the job's status."""
        return item.number == self.attempt and self.status not in TERMINAL

    def tell(self, kind: str) -> None:
        """Count an event that a webhook wants."""
        if kind in self.wanted:
            self.told[kind] += 1

    def finish(self, status: str, error: str = "") -> None:
        """End, and tell of it."""
        self.status = status
        self.error = error or self.error
        self.tell(f"job.{status}")

    def queue_again(self) -> None:
        """Go back to the old place, unless the owner has canceled meanwhile."""
        if self.cancel_requested or self.canceled_with_batch:
            self.finish("canceled")
        else:
            self.status = "queued"

    def accepted(
        self, item: Try, send: int, prediction: str, owner: "tuple[ModelJob, Try] | None", *, adopted: bool
    ) -> int:
        """Take up the prediction that a send created; `owner` is whose it is so far."""
        if not item.state:
            return STALE
        if owner is not None and owner[1] is item:
            return NOTHING if item.prediction == prediction else -4
        latest = 0 < send == item.sends
        if adopted and not (item.state == "unconfirmed" and latest):
            return STALE if owner is None else -3
        put_back = item.state in ("queued", "admitted")
        given_up = (item.state, item.failed_in) == ("failed", "unconfirmed")
        wanted = latest and (put_back or given_up or item.state in ("submitting", "unconfirmed"))
        if owner is not None and (adopted or not wanted or not owner[0].disown(owner[1], prediction)):
            return -3
        if item.only_concluded:
            item.is_given(prediction)
            item.adopted = False
            item.move("generating")
            return DONE
        if not wanted:
            item.duplicates.append(prediction)
            self.spent += self.images
            return -4
        self.spent += self.images if put_back or (given_up and item.taken_back) else 0
        item.is_given(prediction)
        item.failed_in, item.adopted, item.by_operator, item.taken_back = "", adopted, False, False
        item.move("generating")
        if self.is_current(item):
            self.status = "generating"
            if self.cancel_requested:
                self.finish("canceled")
        return DONE

    def take_over(self, prediction: str, owner: "tuple[ModelJob, Try] | None") -> int:
        """Get what was bought for it before a failover."""
        item = self.current
        if owner is not None:
            return NOTHING if owner[1] is item else -3
        if item.state == "admitted":
            return -2
        if not self.waiting:
            return STALE
        item.sends += 1
        self.submits += 1
        self.spent += self.images
        item.is_given(prediction)
        item.adopted, item.by_operator = True, False
        item.move("generating")
        self.status = "generating"
        return DONE

    def disown(self, item: Try, prediction: str) -> bool:
        """Lose a prediction that was only concluded to be this attempt's, unless use has been made of it."""
        if not item.adopted or item.prediction != prediction or item.state not in ("generating", "storing"):
            return False
        item.prediction, item.adopted, item.listings = "", False, 0
        item.move("unconfirmed")
        if self.is_current(item):
            self.status = "unconfirmed"
        return True

    def use_duplicate(self, item: Try) -> bool:
        """Go on with what an earlier send of the attempt had bought."""
        if not item.duplicates:
            return False
        item.is_given(item.duplicates.pop(0))
        self.spent -= self.images
        item.move("generating")
        if self.is_current(item):
            self.status = "generating"
            if self.cancel_requested:
                self.finish("canceled")
        return True

    def returned(self, item: Try, *, absent: bool) -> int:
        """Take a send back that created nothing."""
        item.absent += int(absent)
        if self.use_duplicate(item):
            return DONE
        item.move("queued")
        self.spent -= self.images
        if self.is_current(item):
            self.queue_again()
        return DONE

    def failed(self, item: Try, *, created_nothing: bool, most: int, error: str) -> int:
        """End an attempt that yields nothing."""
        if created_nothing and self.use_duplicate(item):
            return 2
        buys_again = item.state == "generating" and not self.canceled_with_batch
        asked, replace = buys_again and item.asked, buys_again and item.number < most
        item.failed_in = item.state
        item.move("failed")
        self.spent -= self.images if created_nothing else 0
        item.taken_back = created_nothing
        if not self.is_current(item):
            return 3
        if self.cancel_requested:
            self.finish("canceled", error if item.failed_in == "unconfirmed" and error == "submit_unconfirmed" else "")
        elif asked:
            item.asked = False
            self.next_attempt()
            return 2
        elif replace:
            self.next_attempt()
            return 2
        else:
            self.finish("failed", error)
        return DONE

    def completed(self, item: Try) -> int:
        """Have everything stored."""
        item.move("done")
        item.done_as = DONE if self.is_current(item) else 2
        if item.done_as == DONE:
            self.finish("completed")
            return DONE
        self.late.append(item.number)
        self.tell("job.outputs_late")
        return 2

    def cancel(self) -> int:
        """Let the owner end it."""
        if self.status in TERMINAL:
            return -2
        self.cancel_requested = True
        if self.current.state in ("submitting", "unconfirmed"):
            return 2
        if self.current.state == "admitted":
            self.current.move("queued")
        self.finish("canceled")
        return DONE

    def retry(self, *, fresh: bool, unsettled_too: bool = False) -> int:
        """Let the owner have it go on."""
        if self.status not in TERMINAL or self.status == "completed":
            return -2
        item = self.current
        left_open = self.error == "submit_unconfirmed" and not item.prediction and not self.resolved
        if (left_open and not unsettled_too) or (item.state == "unconfirmed" and fresh):
            return -3
        self.error, self.cancel_requested, self.has_deadline, self.deadline_passed = "", False, False, False
        self.resolved = False
        if item.state == "unconfirmed":
            self.status = "unconfirmed"
            return 3
        if not fresh and item.prediction:
            if item.state == "done" or (item.state, item.failed_in) == ("failed", "storing"):
                self.late = [number for number in self.late if number != item.number]
                item.move("storing")
            elif item.state == "failed":
                item.asked, item.failed_in = True, ""
                item.move("generating")
            if item.state in ("generating", "storing"):
                item.lease += int(item.state == "generating")
                self.status = item.state
                return 3
        self.next_attempt()
        return DONE

    def resolve(self, action: str, prediction: str, *, owned: bool) -> int:
        """Let an operator settle what was left open."""
        item = self.current
        over = self.status in TERMINAL and (item.state, item.failed_in) == ("failed", "unconfirmed")
        if not over or self.resolved or self.error != "submit_unconfirmed":
            return -2
        if action == "resubmit" and self.status == "canceled":
            return -4
        if action == "adopt" and owned:
            return -3
        if action == "give_up":
            self.resolved = True
            return DONE
        self.error = ""
        if action == "resubmit":
            self.cancel_requested, self.has_deadline, self.deadline_passed = False, False, False
            self.next_attempt()
            return DONE
        item.is_given(prediction)
        item.failed_in, item.adopted, item.by_operator = "", True, True
        item.move("generating")
        self.status = "generating" if self.status == "failed" else self.status
        return DONE

    def next_attempt(self) -> None:
        """Wait for another prediction."""
        self.attempt += 1
        self.tries[self.attempt] = Try(self.attempt)
        self.status = "queued"
