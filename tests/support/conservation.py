"""What holds in the store after every single move: nothing lost, nothing leaked, nothing counted twice.

Each rule is a function that names what breaks it; `broken_rules` asks them all.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from darkroom.jobs import LEGAL_MOVES, JobStatus
from darkroom.store import keys
from darkroom.store.records import status_changes
from tests.support import money
from tests.support.cell import HOLDS_SLOT, TERMINAL, Attempt, Cell

HOST_AT_ONCE = 32


def broken_rules(cell: Cell) -> list[str]:
    """Name everything that is not as it must be."""
    return [f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(cell)]


def live_attempts_have_one_timer(cell: Cell) -> Iterator[str]:
    """Compare the timers of attempts with those that need one; a set holds each once."""
    yield from _differ({attempt.member for attempt in cell.attempts if attempt.live}, set(cell.due("j")))


def deadlines_belong_to_jobs_that_wait(cell: Cell) -> Iterator[str]:
    """A waiting job with a deadline has its timer; a job that has ended or is gone has none."""
    timers, unlisted = set(cell.due("x")), cell.unlisted
    for job_id, job in cell.accepted.items():
        waits = job["status"] == "queued" and "expires_ms" in job
        if waits and job_id not in timers and job_id not in unlisted:
            yield f"{job_id} waits without its deadline's timer"
        if job["status"] in TERMINAL and job_id in timers:
            yield f"{job_id} has ended and its deadline's timer is left"
    yield from (f"timer of {job_id}, which is gone" for job_id in timers - set(cell.jobs))


def pending_deliveries_wait_in_one_place(cell: Cell) -> Iterator[str]:
    """A pending delivery has its timer or waits for its host, not both; no other delivery does either."""
    pending = Counter(name for name, record in cell.under("delivery:") if record["status"] == "pending")
    queued = [name for key, queue in cell.under("host:") if key.endswith(":queue") for name in queue]
    yield from _differ(pending, Counter([*cell.due("d"), *queued]))


def deliveries_under_way_are_timed_and_few(cell: Cell) -> Iterator[str]:
    """What counts against its host is pending under a timer, and no host has more than its share."""
    for key, flying in cell.under("host:"):
        if key.endswith(":flying"):
            yield from (f"{name} counts against {key} without a timer" for name in flying - set(cell.due("d")))
            if len(flying) > HOST_AT_ONCE:
                yield f"{key} has {len(flying)}"


def who_waits_for_a_host_is_taken_up_again(cell: Cell) -> Iterator[str]:
    """Where deliveries wait for a host, an attempt is under way whose end lets them go, or the host has a timer."""
    for key, _ in cell.under("host:"):
        if key.endswith(":queue"):
            host = key.removesuffix(":queue")
            if not cell.values.get(keys.flying(host)) and host not in cell.due("w"):
                yield f"nothing takes up what waits for {host}"


def every_tenant_has_one_trimming_timer(cell: Cell) -> Iterator[str]:
    """Compare the timers of indexes with the known tenants."""
    timers = [name.partition(":")[0] for name in cell.due("t")]
    yield from _differ(Counter(cell.values.get(keys.TENANTS, ())), Counter(timers))


def a_queued_job_waits_or_is_admitted(cell: Cell) -> Iterator[str]:
    """Each queued job is in its own flow or its attempt is admitted, not both; no other job is in a flow."""
    states = {(attempt.job_id, attempt.number): attempt.state for attempt in cell.attempts}
    waiting = Counter(job_id for _, flow in _flows(cell) for job_id in flow)
    for job_id, job in cell.accepted.items():
        flow = cell.at(keys.flow(job["tenant"], job.get("batch", "-"), job["priority"]))
        admitted = states.get((job_id, int(job["attempt"]))) == "admitted"
        expected = int(job["status"] == "queued" and not admitted)
        if waiting[job_id] != expected or (job_id in flow) != bool(expected):
            yield f"{job_id} ({job['status']}, admitted: {admitted}) is in {waiting[job_id]} flows"
        if admitted and job["status"] != "queued":
            yield f"{job_id} is {job['status']} although its attempt is only admitted"
        if expected and flow.get(job_id) != float(job["seq"]):
            yield f"{job_id} has lost its place"
    yield from (f"{job_id} waits without a record" for job_id in waiting if job_id not in cell.jobs)


def turns_name_who_waits(cell: Cell) -> Iterator[str]:
    """A tenant has a turn, and a flow its place, exactly while a job waits there that no budget holds."""
    flows = {tuple(name.split(":")) for name, _ in cell.under("flow:")}
    flows = {flow for flow in flows if flow[2] not in cell.at(keys.HELD_BATCHES)}
    listed = {(*name.split(":"), batch) for name, batches in cell.under("flows:") for batch in batches}
    flows = {flow for flow in flows if flow in listed or not _is_canceled(cell, *flow)}
    yield from _differ(flows, listed)
    yield from _differ({flow[0] for flow in flows} - set(cell.at(keys.HELD)), set(cell.at(keys.TURNS)))


def _is_canceled(cell: Cell, tenant: str, priority: str, batch: str) -> bool:
    """Whether all that waits there was canceled with its batch, or its batch is not accepted yet."""
    record = cell.at(keys.batch(batch))
    if record.get("status") in ("accepting", "dropped"):
        return True
    upto = float(record.get("canceled_seq", -1))
    return all(seq <= upto for seq in cell.at(keys.flow(tenant, batch, priority)).values())


def what_is_not_accepted_is_out_of_sight(cell: Cell) -> Iterator[str]:
    """What is staged is not tried, listed, timed or told of; its batch has the timer that drops it and no other."""
    staged, batches = set(cell.staged), cell.staged_batches
    yield from (f"{attempt.member} is staged" for attempt in cell.attempts if attempt.job_id in staged)
    for name, index in [*cell.under("index:"), *cell.under("batches:")]:
        yield from (f"{name} lists {one}, which is not accepted" for one in set(index) & {*staged, *batches})
    yield from (f"{job_id} is staged and has a deadline" for job_id in staged & set(cell.due("x")))
    timers = {batch: sorted(name for name in cell.due("s") if name.startswith(batch)) for batch in batches}
    yield from (f"{batch} has the timers {found}" for batch, found in timers.items() if found != [f"{batch}:drop"])
    told = [record["job"] for _, record in cell.under("event:")]
    yield from (f"it was told of {one}, which is not accepted" for one in told if one in staged or one in batches)


def batches_count_their_jobs(cell: Cell) -> Iterator[str]:
    """A linked batch counts its jobs by status and what they cost; it has ended when all have and no retry goes on.

    Jobs whose time is over stay counted as what they were.
    """
    for batch, record in cell.under("batch:"):
        if "linked_ms" not in record:
            continue
        ours = {job_id: job for job_id, job in cell.jobs.items() if job.get("batch") == batch}
        found = Counter({name[2:]: int(count) for name, count in record.items() if name.startswith("n:")})
        gone = found.copy()
        gone.subtract(job["status"] for job in ours.values())
        if any(count < 0 or (count and status not in TERMINAL) for status, count in gone.items()):
            yield f"{batch} counts {found}, its jobs are {Counter(job['status'] for job in ours.values())}"
        if found.total() != int(record["total"]) or gone.total() != int(record["total"]) - len(ours):
            yield f"{batch} has {record['total']} jobs, counts {found.total()}, and {len(ours)} are there"
        open_jobs = sum(job["status"] not in TERMINAL for job in ours.values())
        running = open_jobs > 0 or (record["status"] == "running" and "retry_line" in record)
        if (int(record["open"]), record["status"] == "running") != (open_jobs, running):
            yield f"{batch} is {record['status']}, counts {record['open']} open jobs, {open_jobs} are"
        spent = sum(int(job.get("spent_images", 0)) for job in ours.values())
        if spent > int(record.get("spent_images", 0)) or (
            spent < int(record.get("spent_images", 0)) and not gone.total()
        ):
            yield f"{batch} has spent {record.get('spent_images')}, its jobs {spent}"
        told = batch in cell.due("m") or "manifest" in record
        if told != (record["status"] != "running"):
            yield f"{batch} is {record['status']}, and its end to be written down: {told}"


def nothing_waits_that_a_batchs_cancel_has_swept(cell: Cell) -> Iterator[str]:
    """Once the sweep of a cancel is over, no job waits that did before it."""
    for batch, record in cell.under("batch:"):
        if "canceled_seq" in record and "cancel_line" not in record:
            for job_id, job in cell.jobs.items():
                if job.get("batch") == batch and job["status"] == "queued" and _canceled_with(job, record):
                    yield f"{job_id} waits although {batch} was canceled"


def a_sweep_under_way_has_its_timer(cell: Cell) -> Iterator[str]:
    """Where a sweep was left off it is taken up again; a timer without a sweep is that of an uploader."""
    left = {
        f"{batch}:{name.removesuffix('_line')}"
        for batch, record in cell.under("batch:")
        for name in record
        if name.endswith("_line") and name != "last_line"
    }
    uploading = {f"{batch}:drop" for batch in cell.staged_batches}
    yield from _differ(left | uploading, set(cell.due("s")))


def nobody_waits_and_has_left(cell: Cell) -> Iterator[str]:
    """Who has left the line is remembered only while others wait, and no longer than until they come back."""
    pairs = [("", cell.at(keys.TURNS), cell.at(keys.LEFT))]
    pairs += [(name, cell.at(f"{keys.ROOT}flows:{name}"), left) for name, left in cell.under("left:")]
    for name, turns, left in pairs:
        if left and not turns:
            yield f"{name} remembers {left} although nobody waits"
        yield from (f"{name} {member} waits and has left" for member in set(turns) & set(left))


def depth_counts_who_waits(cell: Cell) -> Iterator[str]:
    """The counters equal what is in the flows, and what is being stored."""
    counted: Counter[str] = Counter()
    for name, flow in _flows(cell):
        tenant, priority, _ = name.split(":")
        images = sum(int(cell.jobs[job_id]["images"]) for job_id in flow)
        counted.update({f"{tenant}|{priority}": len(flow), f"{tenant}|images": images})
        counted.update({"*|jobs": len(flow), "*|images": images})
    for attempt in cell.attempts:
        if attempt.state == "storing":
            counted["*|unstored"] += int(cell.jobs[attempt.job_id]["images"])
    yield from _differ(counted, Counter({name: int(count) for name, count in cell.at(keys.DEPTH).items()}))


def slots_belong_to_what_upstream_may_work_on(cell: Cell) -> Iterator[str]:
    """An attempt holds its slot from admission until upstream is done; only an unconfirmed one's may lapse."""
    for lane in cell.lanes:
        ours = [attempt for attempt in cell.attempts if attempt.record.get("lane") == lane]
        slots = set(cell.at(keys.slots(lane)))
        holders = {attempt.member for attempt in ours if attempt.state in HOLDS_SLOT}
        lapsed = {attempt.member for attempt in ours if attempt.state == "unconfirmed"}
        left_open = {attempt.member for attempt in ours if _is_open(cell, attempt)}
        yield from (f"slot of {member} is left" for member in slots - holders - left_open if _kept(cell, member))
        yield from (f"{member} has no slot" for member in holders - slots - lapsed)
        unsent = {attempt.member for attempt in ours if attempt.state == "admitted"}
        yield from _differ(unsent, set(cell.at(keys.unsent(lane))))
        generating = {attempt.member for attempt in ours if attempt.state == "generating"}
        for member, until in cell.at(keys.slots(lane)).items():
            if (until == float("inf")) != (member in generating):
                yield f"slot of {member} lapses at {until}"


def open_sends_are_those_not_settled(cell: Cell) -> Iterator[str]:
    """A send stays open until it is known what became of it, or an operator has said so."""
    for lane in cell.lanes:
        ours = [attempt for attempt in cell.attempts if attempt.record.get("lane") == lane]
        expected = {attempt.member for attempt in ours if _is_open(cell, attempt)}
        kept = {member for member in cell.at(keys.open_sends(lane)) if _kept(cell, member)}
        yield from _differ(expected, kept)


def used_is_the_sum_of_the_reservations(cell: Cell) -> Iterator[str]:
    """What counts against the rate is what was sent or may still be."""
    for lane in cell.lanes:
        total = sum(int(ref.partition(":")[0]) for ref in cell.at(keys.sends(lane)))
        used = int(cell.at(keys.lane(lane)).get("used", 0))
        if used != total:
            yield f"{lane} has used {used}, reservations make {total}"
        for attempt in cell.attempts:
            sending = attempt.state in ("admitted", "submitting") and attempt.record["lane"] == lane
            if sending and attempt.record["send_ref"] not in cell.at(keys.sends(lane)):
                yield f"{attempt.member} is {attempt.state} without a reservation"


def an_index_holds_each_job_once(cell: Cell) -> Iterator[str]:
    """A job is listed under its tenant and status and nowhere else; one of a batch not before it moves or is listed."""
    expected = {(job["tenant"], job["status"], job_id) for job_id, job in cell.accepted.items()}
    unlisted = cell.unlisted
    found = {
        (*name.rsplit(":", 1), job_id)
        for name, index in cell.under("index:")
        for job_id in index
        if job_id in cell.jobs
    }
    yield from _differ({item for item in expected if item in found or item[2] not in unlisted}, found)


def a_prediction_has_one_owner(cell: Cell) -> Iterator[str]:
    """No prediction is worked on by two attempts, and each is known as its attempt's."""
    holders: dict[str, list[str]] = {}
    for attempt in cell.attempts:
        record = attempt.record
        for prediction in [record.get("prediction_id"), *record.get("duplicates", "").split(",")]:
            if prediction:
                holders.setdefault(prediction, []).append(attempt.member)
    yield from (f"{prediction} is held by {members}" for prediction, members in holders.items() if len(members) > 1)
    owned = {(prediction, owner) for prediction, owner in cell.under("prediction:") if _kept(cell, owner)}
    yield from _differ({(prediction, member) for prediction, [member, *_] in holders.items()}, owned)


def history_is_legal_and_rises(cell: Cell) -> Iterator[str]:
    """Events count up one by one, each a legal move from the one before, the last being the status."""
    for job_id, job in cell.jobs.items():
        changes = status_changes(job)
        if changes[-1].status != job["status"] or changes[-1].sequence != int(job["event_seq"]):
            yield f"{job_id} is {job['status']}, its last event says {changes[-1]}"
        for before, after in pairwise(changes):
            if after.sequence != before.sequence + 1 or after.attempt < before.attempt:
                yield f"{job_id}: event {after.event_id} follows {before.event_id}"
            if JobStatus(after.status) not in LEGAL_MOVES[JobStatus(before.status)]:
                yield f"{job_id} moved from {before.status} to {after.status}"


def status_agrees_with_the_attempt(cell: Cell) -> Iterator[str]:
    """A job that is under way shows what its current attempt is doing."""
    states = {(attempt.job_id, attempt.number): attempt.state for attempt in cell.attempts}
    for job_id, job in cell.jobs.items():
        state = states.get((job_id, int(job["attempt"])), "")
        if job["status"] in ("submitting", "unconfirmed", "generating", "storing") and state != job["status"]:
            yield f"{job_id} is {job['status']}, its attempt {state or 'nothing'}"
        if job["status"] == "queued" and state not in ("", "queued", "admitted"):
            yield f"{job_id} is queued while its attempt is {state}"


RULES: tuple[Callable[[Cell], Iterator[str]], ...] = (
    live_attempts_have_one_timer,
    deadlines_belong_to_jobs_that_wait,
    pending_deliveries_wait_in_one_place,
    deliveries_under_way_are_timed_and_few,
    who_waits_for_a_host_is_taken_up_again,
    every_tenant_has_one_trimming_timer,
    a_queued_job_waits_or_is_admitted,
    turns_name_who_waits,
    what_is_not_accepted_is_out_of_sight,
    batches_count_their_jobs,
    nothing_waits_that_a_batchs_cancel_has_swept,
    a_sweep_under_way_has_its_timer,
    nobody_waits_and_has_left,
    depth_counts_who_waits,
    *money.RULES,
    slots_belong_to_what_upstream_may_work_on,
    open_sends_are_those_not_settled,
    used_is_the_sum_of_the_reservations,
    an_index_holds_each_job_once,
    a_prediction_has_one_owner,
    history_is_legal_and_rises,
    status_agrees_with_the_attempt,
)


def _flows(cell: Cell) -> list[tuple[str, dict[str, float]]]:
    """Give the flows of all jobs that are accepted."""
    staged = cell.staged_batches
    return [(name, flow) for name, flow in cell.under("flow:") if name.split(":")[2] not in staged]


def _canceled_with(job: dict[str, str], batch: dict[str, str]) -> bool:
    return int(job["seq"]) <= int(batch["canceled_seq"])


def _is_open(cell: Cell, attempt: Attempt) -> bool:
    if attempt.state in ("submitting", "unconfirmed"):
        return True
    job, record = cell.jobs[attempt.job_id], attempt.record
    if (attempt.state, record.get("failed_in")) != ("failed", "unconfirmed"):
        return False
    settled = job.get("resolved") == "1" or int(job["attempt"]) != attempt.number
    return "submit_unconfirmed" in record["error"] and not settled


def _kept(cell: Cell, owner: str) -> bool:
    job_id, _, number = owner.rpartition(":")
    return keys.attempt(job_id, int(number)) in cell.values


def _differ(expected: object, found: object) -> Iterator[str]:
    if expected != found:
        yield f"expected {expected!r}, found {found!r}"
