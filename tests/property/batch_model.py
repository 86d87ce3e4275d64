"""The rules of batches in plain Python, beside those of jobs: uploading, sweeps slice by slice, ending and telling.

Written from the contract: a batch is there whole or not at all, a cancel means what waits when it is asked for, a retry
buys only what was asked for, and what is written down and told of is the latest end.
"""

from collections import Counter
from dataclasses import dataclass, field

from tests.property.model import TERMINAL, ModelJob

PLACES = 1_000
"""Places in the line that a batch takes when its upload begins."""

WORTH_A_RETRY = frozenset({"upstream_failed", "exceeds_budget"})


@dataclass
class ModelBatch:
    """One upload and what became of it; `jobs` by line are nobody's before it is `linked`."""

    batch_id: str
    tenant: str
    first_place: int
    key: str | None
    wanted: frozenset[str]
    status: str = "accepting"
    silent: bool = False
    linked: bool = False
    jobs: dict[int, ModelJob] = field(default_factory=dict)
    last_line: int = 0
    open: int = 0
    lease: int = 0
    written: bool = False
    cancel_requested: bool = False
    canceled_upto: int = -1
    sweeps: dict[str, int] = field(default_factory=dict)
    """Sweeps under way, with the last line that each has done."""
    include: frozenset[str] = frozenset()
    retried: Counter[str] = field(default_factory=Counter)
    told: int = 0

    @property
    def staged(self) -> set[str]:
        """The ids of jobs that lie there unaccepted, as far as they are not removed yet."""
        return set() if self.linked else {job.job_id for job in self.jobs.values()}

    @property
    def to_write(self) -> bool:
        """Whether its end is still to be written down."""
        return self.status in ("completed", "canceled") and not self.written

    def listed(self, line: int) -> bool:
        """Whether the sweep that sets deadlines has come to a line."""
        return line <= self.sweeps.get("list", self.last_line)

    def stage(self, line: int, job: ModelJob) -> None:
        """Take a line."""
        self.jobs[line] = job
        self.last_line = max(self.last_line, line)
        self.silent = False

    def link(self) -> None:
        """Be accepted, all of it."""
        self.linked, self.status, self.open = True, "running", len(self.jobs)
        self.sweeps["list"] = 0
        for job in self.jobs.values():
            job.batch = self

    def drop(self) -> None:
        """Be given up."""
        self.status = "dropped"
        self.sweeps["drop"] = 0

    def moved(self, before: str, after: str) -> None:
        """Count that a job of it changed its status; the last one's end is its own."""
        if after in TERMINAL and before not in TERMINAL:
            self.open -= 1
            self.close()
        elif before in TERMINAL and after not in TERMINAL:
            self.open += 1
            if self.open == 1:
                self.status, self.written, self.cancel_requested = "running", False, False
                self.lease += 1  # whoever writes the end before this down is stale
                self.sweeps["retire"] = 0

    def close(self) -> None:
        """End, if all jobs have and no retry is going through them."""
        if self.status == "running" and not self.open and "retry" not in self.sweeps:
            canceled = any(job.status == "canceled" for job in self.jobs.values())
            self.status = "canceled" if self.cancel_requested and canceled else "completed"

    def cancel(self, order: int) -> int:
        """Let its owner end what waits."""
        if not self.linked:
            return -1
        if self.status != "running":
            return -2
        self.cancel_requested, self.canceled_upto = True, order
        self.sweeps.pop("retry", None)
        self.sweeps["cancel"] = 0
        self.close()
        return 1

    def retry(self, include: frozenset[str]) -> int:
        """Let its owner have what failed go on."""
        if not self.linked:
            return -1
        if "retry" in self.sweeps:
            return 1 if include == self.include else -2
        self.include, self.retried = include, Counter()
        self.sweeps["retry"] = 0
        return 1

    def slice_of(self, sweep: str, most: int) -> list[ModelJob] | None:
        """Go on with a sweep: give the jobs of the slice, None where it is over already."""
        if sweep not in self.sweeps:
            return None
        done = self.sweeps[sweep]
        upto = min(done + most, self.last_line)
        self.sweeps[sweep] = upto
        if upto == self.last_line:
            del self.sweeps[sweep]
        return [self.jobs[line] for line in range(done + 1, upto + 1) if line in self.jobs]

    def sweep_cancel(self, job: ModelJob) -> None:
        """End a job that waited when the batch was canceled."""
        if job.status == "queued" and job.canceled_with_batch:
            if job.current.state == "admitted":
                job.current.move("queued")
            job.finish("canceled")

    def sweep_retry(self, job: ModelJob) -> bool:
        """Let a job go on that is worth it or asked for; says whether it has a new place in the line."""
        if job.status not in TERMINAL or job.status == "completed":
            return False
        code = job.error if job.status == "failed" else job.status
        if job.status != "failed" and code not in self.include:
            return False
        if code not in WORTH_A_RETRY | self.include:
            self.retried[f"skip:{code}"] += 1
            return False
        became = job.retry(fresh=False, unsettled_too="submit_unconfirmed" in self.include)
        if became == -3:
            self.retried["skip:submit_unconfirmed"] += 1
            return False
        self.retried["resumed" if became == 3 else "new"] += 1
        if became != 3 or job.current.asked:
            self.retried["images"] += job.images
        return True

    def tell(self, lease: int) -> bool:
        """Have its end written down by whoever holds the lease."""
        if not lease or lease != self.lease or not self.to_write:
            return False
        self.lease += 1
        self.written = True
        self.sweeps["retire"] = 0
        self.told += int("batch.completed" in self.wanted)
        return True
