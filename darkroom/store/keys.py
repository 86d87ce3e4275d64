"""Every key: how it is built, what it holds, who deletes it and when.

The scripts build the same names in `_1_base.lua`; a test holds the two against each other. All keys carry one hash tag,
so that a cell always fits one node of a cluster.
"""

ROOT = "{darkroom}:"

DUE = ROOT + "due"
"""Sorted set: every timer there is, scored by when it is due (ms, server time). Permanent.

`j:` attempts, `d:` deliveries, `x:` deadlines in the line, `l:` lanes, `t:` tenants' indexes to be trimmed,
`h:` tenants held by their budget, `b:` batches held by theirs that may have room again, `w:` hosts that deliveries wait
for, `s:` batches whose jobs are being gone through (`s:<batch>:<sweep>`), `m:` batches whose end is to be written down.
"""
TURNS = ROOT + "turns"
"""Sorted set: tenants with waiting jobs, scored by the images they have had. Gone when the line is empty."""
LEFT = ROOT + "left"
"""Sorted set: tenants that have left the line and had more images than whoever is next. Gone when the line is empty."""
DEPTH = ROOT + "depth"
"""Hash: waiting jobs by `tenant|priority`, their images by `tenant|images`, and `*|jobs`, `*|images`, `*|unstored`.

Permanent.
"""
CLOCK = ROOT + "clock"
"""Hash: how long every lane was paused. Permanent."""
SEQ = ROOT + "seq"
"""Counter: order of arrival. Permanent."""
IDS = ROOT + "ids"
"""Counter behind the ids that scripts make. Permanent."""
WAKE = ROOT + "wake"
"""Flag: a `dispatch` message is under way. Lives two seconds."""
LANES = ROOT + "lanes"
"""Set of lane names. Permanent."""
TENANTS = ROOT + "tenants"
"""Set of tenants that ever posted a job. Permanent."""
TOTALS = ROOT + "totals"
"""Hash of counters for the metrics. Permanent."""
DURATIONS = ROOT + "durations"
"""List: how long the latest generations took (ms), oldest first, so that a worker that starts knows. Permanent."""

CAPS = ROOT + "caps"
"""Hash: most images that may be charged: a day to a tenant, or to `*` (every other), in all to `:batch`.

Written by each process that starts with other budgets than these. Permanent.
"""
HELD = ROOT + "held"
"""Hash: tenants whose next job has no room in today's budget, and since when (ms). An entry ends with its timer."""
HELD_BATCHES = ROOT + "held_batches"
"""Hash: batches whose next job has no room in their budget, and whose they are. Ends once there may be room."""
HOSTS = ROOT + "hosts"
"""Set of receivers' hosts, by tenant, that fail or that deliveries wait for. A report drops those that are well."""
CHANNEL = ROOT + "changes"
"""Channel: the id of every job that changes."""
WORKERS = ROOT + "workers"
"""Hash: worker name to its last sign of life (JSON). Long silent ones are dropped by the next sign of another."""

PROGRESS = ROOT + "progress"
"""Hash: since when (ms, server time) each stage is called for and has begun nothing. Permanent."""

CALLBACK_KEY = ROOT + "callback_key"
"""String: what the tokens of upstream's callbacks are made with, a secret. Only Python reads it. Permanent."""

PERMANENT = frozenset(
    {DUE, TURNS, LEFT, DEPTH, CLOCK, SEQ, IDS, LANES, TENANTS, TOTALS, WORKERS, PROGRESS, CAPS, HELD, HELD_BATCHES}
    | {HOSTS, CALLBACK_KEY, DURATIONS}
)
"""Keys without a life-time of their own, beside those of live jobs, the line, indexes, lanes and pending deliveries."""


def job(job_id: str) -> str:
    """Hash: the job's record. Expires some time after the job has finished and no attempt of it is live."""
    return f"{ROOT}job:{job_id}"


def attempt(job_id: str, number: int) -> str:
    """Hash: one attempt of a job. Expires with the job."""
    return f"{ROOT}attempt:{job_id}:{number}"


def compacted(job_id: str) -> str:
    """String: what is left of a completed job in the place of its record and its attempts' (`compaction.py` packs it).

    Lives as long as the record would have.
    """
    return f"{ROOT}done:{job_id}"


def index(tenant: str, status: str) -> str:
    """Sorted set (all scores 0, ordered by id): a tenant's jobs in one status.

    Entries of expired jobs are trimmed by the tenant's timer (`lease_due.lua`), and by a listing that meets them.
    """
    return f"{ROOT}index:{tenant}:{status}"


def flow(tenant: str, batch: str, priority: str) -> str:
    """Sorted set: waiting jobs of one flow by arrival. Gone when empty. `batch` is `-` for loose jobs."""
    return f"{ROOT}flow:{tenant}:{priority}:{batch}"


def flows(tenant: str, priority: str) -> str:
    """Sorted set: a tenant's flows of one priority by the images they have had. Gone when empty."""
    return f"{ROOT}flows:{tenant}:{priority}"


def left_flows(tenant: str, priority: str) -> str:
    """Sorted set: a tenant's flows that emptied and had more images than whichever is next. Gone when none waits."""
    return f"{ROOT}left:{tenant}:{priority}"


def lane(name: str) -> str:
    """Hash: an upstream account's limits and state. Permanent."""
    return f"{ROOT}lane:{name}"


def slots(name: str) -> str:
    """Sorted set: attempts that upstream may be working on, scored by when they lapse. Members end with the attempt."""
    return f"{ROOT}lane:{name}:slots"


def sends(name: str) -> str:
    """Sorted set: sends that count against the rate, scored by when they stop counting."""
    return f"{ROOT}lane:{name}:sends"


def unsent(name: str) -> str:
    """Sorted set: attempts admitted but not sent."""
    return f"{ROOT}lane:{name}:unsent"


def open_sends(name: str) -> str:
    """Sorted set: attempts whose last send is not settled, scored by when it was made.

    Those under way and unconfirmed, and those that ended `submit_unconfirmed` until an operator has resolved them;
    older than eight days they are dropped.
    """
    return f"{ROOT}lane:{name}:open"


def sweep(name: str) -> str:
    """String: who looks for the lane's lost sends just now. Lives as long as that is renewed."""
    return f"{ROOT}lane:{name}:sweep"


def prediction(prediction_id: str) -> str:
    """String: the attempt that owns a prediction. Lives eight days, a day longer than upstream keeps it."""
    return f"{ROOT}prediction:{prediction_id}"


def owned(day: int) -> str:
    """Set: predictions whose owners were compacted on a day (days since 1970). Lives nine days.

    That is as long as `prediction` would have kept the least of them.
    """
    return f"{ROOT}owned:{day}"


def event(event_id: str) -> str:
    """Hash: an event and the record it tells of, as it was. Expires once its delivery is settled."""
    return f"{ROOT}event:{event_id}"


def delivery(delivery_id: str) -> str:
    """Hash: one event on its way to one URL. Expires once it is settled."""
    return f"{ROOT}delivery:{delivery_id}"


def host(name: str) -> str:
    """Hash: a tenant's host (`name:port tenant`) whose last attempt failed, and its breaker.

    `failed` are the deliveries and `failing` the addresses that did so. Gone once it answers, or in a day.
    """
    return f"{ROOT}host:{name}"


def flying(name: str) -> str:
    """Set: a tenant's deliveries to a host that are called for or attempted just now. Members end with the attempt."""
    return f"{ROOT}host:{name}:flying"


def host_queue(name: str) -> str:
    """Sorted set: pending deliveries that wait for their host to have room, by when they joined it. Gone when empty.

    Those to addresses not known to fail stand in front, by as much as no time can make up for.
    """
    return f"{ROOT}host:{name}:queue"


def gone(tenant: str, url: str) -> str:
    """String: since when (ms) a URL wants nothing any more (410). Lives a week, or until one is sent there again."""
    return f"{ROOT}gone:{tenant}:{url}"


def undelivered(tenant: str) -> str:
    """Sorted set: a tenant's deliveries that ended exhausted or gone, by when. Lives as long as its newest member."""
    return f"{ROOT}undelivered:{tenant}"


def secrets(tenant: str) -> str:
    """Hash: a tenant's own webhook secrets by id (JSON `secret`, `created_ms`, `until_ms`), and `operator_until_ms`.

    Permanent; where every member was replaced and ends, it lives as long as the last of them. Gone when empty.
    """
    return f"{ROOT}secrets:{tenant}"


def webhook(tenant: str) -> str:
    """String: whom to tell of a tenant's jobs that have no webhook of their own (JSON `url`, `events`). Permanent."""
    return f"{ROOT}webhook:{tenant}"


def batch(batch_id: str) -> str:
    """Hash: a batch. Kept until its jobs' time has begun, then an hour longer than they are.

    `cap_images` is its own budget (without it `:batch` of the caps holds), `charged_images` what counts against that.
    `n:<status>` counts its jobs, `open` those that have not ended; `<sweep>_line` is how far a sweep has come.
    `canceled_seq`: waiting jobs up to that place in the line are canceled. While it is accepted it is dropped once its
    uploader has been silent (`silent_ms`).
    """
    return f"{ROOT}batch:{batch_id}"


def batches(tenant: str) -> str:
    """Sorted set (all scores 0, ordered by id): a tenant's batches.

    Each new one takes the oldest two out where they are gone, and a listing those that it meets.
    """
    return f"{ROOT}batches:{tenant}"


def usage(tenant: str, day: int) -> str:
    """Hash: counts of one UTC day (days since 1970), `charged_images` being what its budget is held against.

    Lives 400 days.
    """
    return f"{ROOT}usage:{tenant}:{day}"


def uploads(tenant: str) -> str:
    """Sorted set: a tenant's batches that are being uploaded, scored by when they count as given up (ms, server time).

    Expires when the last of them does.
    """
    return f"{ROOT}uploads:{tenant}"


def idempotency(tenant: str, key_hash: str) -> str:
    """Hash: the job or batch that an idempotency key made, and its body's fingerprint. Lives at least 24 hours.

    A batch without a fingerprint is being uploaded.
    """
    return f"{ROOT}idem:{tenant}:{key_hash}"
