"""What will happen in a storm, drawn from one seed before anything starts: who posts what and when, and what breaks.

The same seed, size and length give the same plan. Timing on the machine is another matter, so the same plan need not
meet the jobs at the same points.
"""

import random
from dataclasses import dataclass, field
from typing import Any

TENANTS = ("acme", "other", "third")
BATCHED, BATCH = 0.3, 8
"""What share of the jobs is posted in batches, and how many of them in one."""

TWINS = 8
"""How many jobs ask for the very same: they may share out lost predictions in any order."""

MARKERS = (
    "[[sim:lost_answer]]",
    "[[sim:lost_before]]",
    "[[sim:error_before=503]]",
    "[[sim:error_after=502]]",
    "[[sim:html_error_after]]",
    "[[sim:unreadable]]",
    "[[sim:hang_after=30]]",
    "[[sim:delay_answer=0.7]]",
    "[[sim:fail=1200]]",
    "[[sim:fail=5000]]",
    "[[sim:fail=5000,x1]]",
    "[[sim:fail=1405,x1]]",
    "[[sim:status=timeout]]",
    "[[sim:outputs=1]]",
    "[[sim:null_output=1]]",
    "[[sim:null_flags]]",
    "[[sim:truncated=1,x1]]",
    "[[sim:missing=1,x2]]",
    "[[sim:output_error=503,x1]]",
    "[[sim:inference=4]]",
)
SUBMIT_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "lost_answer", "variant": "rst"},
    {"kind": "lost_answer", "variant": "cut"},
    {"kind": "lost_before", "variant": "fin"},
    {"kind": "error_before", "status": 503},
    {"kind": "error_before", "status": 401},
    {"kind": "error_after", "status": 500},
    {"kind": "html_error_after", "status": 504},
    {"kind": "unreadable"},
    {"kind": "hang_after"},
    {"kind": "rate_limit", "seconds": 1.0},
    {"kind": "balance_empty"},
)
OTHER_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "error_before", "call": "list", "status": 502},
    {"kind": "lost_before", "call": "list"},
    {"kind": "unreadable", "call": "list"},
    {"kind": "rate_limit", "call": "list", "seconds": 1.0},
    {"kind": "error_before", "call": "result", "status": 500},
    {"kind": "unreadable", "call": "result"},
    {"kind": "lost_answer", "call": "result"},
    {"kind": "not_found", "call": "result"},
    {"kind": "truncated"},
    {"kind": "missing"},
    {"kind": "output_error", "status": 503},
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How hard a storm is."""

    jobs: int
    storm_s: float
    workers: int
    strike_every_s: float
    strikes: tuple[tuple[str, int], ...]
    """Kinds of strike and their weights."""
    longest_freeze_s: float
    sync: bool
    """Whether some jobs use sync mode, whose submits hold a lease of two minutes."""


@dataclass(frozen=True, slots=True)
class Post:
    """One job that a customer posts, and what becomes of it by the customer's will."""

    number: int
    at_s: float
    tenant: str
    body: dict[str, Any]
    posted_twice: bool
    cancel_after_s: float | None
    retries: int
    fresh: bool
    is_batched: bool = False

    @property
    def key(self) -> str:
        """Its Idempotency-Key."""
        return f"storm-{self.number}"


@dataclass(frozen=True, slots=True)
class Strike:
    """One thing that breaks, and for how long."""

    at_s: float
    kind: str
    lasts_s: float
    target: int = 0
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was drawn."""

    seed: int
    shape: Shape
    posts: list[Post]
    strikes: list[Strike]

    @property
    def uploads(self) -> list[list[Post]]:
        """The posts as they are sent: one by one, or those of a batch together when the last of them is due."""
        single = [[post] for post in self.posts if not post.is_batched]
        for tenant in TENANTS:
            ours = [post for post in self.posts if post.is_batched and post.tenant == tenant]
            single += [ours[first : first + BATCH] for first in range(0, len(ours), BATCH)]
        return sorted(single, key=lambda upload: upload[-1].at_s)


def draw(seed: int, shape: Shape) -> Plan:
    """Draw a plan; the same arguments give the same one. Every kind of strike comes once before any comes again."""
    rng = random.Random(seed)
    posts = sorted((_post(rng, seed, number, shape) for number in range(shape.jobs)), key=lambda post: post.at_s)
    strikes, at_s = [], 1.0 + rng.random()
    kinds, weights = zip(*shape.strikes, strict=True)
    each_once = rng.sample(kinds, len(kinds))
    while at_s < shape.storm_s:
        kind = each_once.pop() if each_once else rng.choices(kinds, weights)[0]
        strikes.append(_strike(rng, kind, at_s, shape))
        at_s += rng.uniform(0.3, 1.7) * shape.strike_every_s
    return Plan(seed, shape, posts, strikes)


def _post(rng: random.Random, seed: int, number: int, shape: Shape) -> Post:
    is_twin = number < TWINS
    prompt = f"storm {seed} job {number}"
    if rng.random() < 0.2:
        prompt += " " + rng.choice(MARKERS)
    body: dict[str, Any] = {
        "prompt": f"storm {seed} twins [[sim:lost_answer,x{TWINS // 2}]]" if is_twin else prompt,
        "max_images": 2 if is_twin else rng.randint(1, 4),
        "priority": rng.choice(["low", "normal", "normal", "high"]),
        "metadata": {"number": str(number)},
    }
    kind = rng.random()
    if not is_twin:
        body["enable_base64_output"] = kind < 0.15
        body["enable_sync_mode"] = shape.sync and 0.1 < kind < 0.2
        body["expires_in"] = rng.choice([3, 30]) if 0.2 < kind < 0.3 else None
    will = rng.random()
    return Post(
        number=number,
        at_s=rng.random() * shape.storm_s * (0.1 if is_twin else 0.9),
        tenant=rng.choice(TENANTS),
        body=body,
        posted_twice=rng.random() < 0.1,
        cancel_after_s=rng.uniform(0, 6) if will < 0.06 else None,
        retries=rng.randint(1, 2) if rng.random() < 0.3 else 0,
        fresh=rng.random() < 0.3,
        is_batched=not is_twin and rng.random() < BATCHED,
    )


def _strike(rng: random.Random, kind: str, at_s: float, shape: Shape) -> Strike:
    target, lasts_s, fields = rng.randrange(shape.workers), rng.uniform(0.2, 3.0), {}
    if kind == "worker_freeze":
        lasts_s = rng.uniform(6.0, shape.longest_freeze_s)
    elif kind in ("upstream_freeze", "upstream_kill", "s3_kill"):
        lasts_s = rng.uniform(1.0, 5.0)
    elif kind == "receiver_down":
        lasts_s = rng.uniform(2.0, 6.0)
    elif kind == "list_delay":
        lasts_s, fields = rng.uniform(5.0, 10.0), {"list_delay_s": round(rng.uniform(1.0, 3.0), 2)}
    elif kind in ("submit_fault", "other_fault"):
        lasts_s = rng.uniform(1.0, 6.0)
        fields = dict(rng.choice(SUBMIT_FAULTS if kind == "submit_fault" else OTHER_FAULTS))
        fields["probability"] = round(rng.uniform(0.2, 1.0), 2)
    return Strike(at_s, kind, lasts_s, target, fields)
