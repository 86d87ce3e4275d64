"""The judgement after a storm: what was promised is held against the store, the ledger, the bucket and the receiver.

Every rule names what breaks it, each finding beginning with the job it is about where there is one.
"""

import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import orjson
from mypy_boto3_s3 import S3Client
from PIL import Image

from darkroom.store.records import status_changes
from darkroom.store.view import iso
from tests.chaos.storm.customers import Notes
from tests.chaos.storm.plan import Plan
from tests.chaos.storm.receiver import Hook
from tests.support.cell import TERMINAL, Attempt, Cell
from tests.support.conservation import broken_rules
from tests.support.lifetimes import immortal_keys

LABEL = re.compile(rb"label\0([0-9a-f]{32})/(\d+)")


@dataclass(frozen=True)
class Evidence:
    """All that is known when everything has come to rest."""

    plan: Plan
    notes: Notes
    cell: Cell
    ledger: list[dict[str, Any]]
    hooks: list[Hook]
    unverified: list[str]
    shown: dict[str, dict[str, Any]]
    """Every job as its tenant reads it."""
    s3: S3Client
    bucket: str
    attempts: dict[str, list[Attempt]] = field(init=False)

    def __post_init__(self) -> None:
        attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in sorted(self.cell.attempts, key=lambda item: item.number):
            attempts[attempt.job_id].append(attempt)
        object.__setattr__(self, "attempts", attempts)

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """The ledger by prediction."""
        return {entry["id"]: entry for entry in self.ledger}

    @cached_property
    def by_prompt(self) -> dict[str, list[dict[str, Any]]]:
        """The ledger by prompt."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in self.ledger:
            found[entry["prompt"]].append(entry)
        return found

    @cached_property
    def askers(self) -> dict[str, list[str]]:
        """The jobs of each prompt."""
        found: dict[str, list[str]] = defaultdict(list)
        for job_id, job in self.cell.jobs.items():
            found[prompt_of(job)].append(job_id)
        return found

    def known(self, job_id: str) -> list[str]:
        """Every prediction that the service knows as a job's, duplicates included."""
        ids = [item.record.get("prediction_id", "") for item in self.attempts[job_id]]
        return [one for one in [*ids, *self.duplicates(job_id)] if one]

    def duplicates(self, job_id: str) -> list[str]:
        """The second predictions that attempts of a job turned out to have."""
        texts = [item.record.get("duplicates", "") for item in self.attempts[job_id]]
        return [one for text in texts for one in text.split(",") if one]

    def unsettled(self, job_id: str) -> int:
        """How many attempts of a job ended without anybody knowing whether they were paid."""
        return sum(item.record.get("failed_in") == "unconfirmed" for item in self.attempts[job_id])


def prompt_of(job: dict[str, str]) -> str:
    """Give what a job asked for."""
    prompt: str = orjson.loads(job["request"])["prompt"]
    return prompt


def findings(evidence: Evidence) -> list[str]:
    """Name everything that breaks a promise."""
    return [f"{rule.__name__}: {problem}" for rule in RULES for problem in rule(evidence)]


def every_accepted_job_has_ended(it: Evidence) -> Iterator[str]:
    """Hold the posts against the store: each is one job there, which has ended."""
    yield from it.notes.refused
    for number, job_id in it.notes.jobs.items():
        job = it.cell.jobs.get(job_id)
        if job is None:
            yield f"{job_id} of post {number} was accepted and is gone"
        elif job["status"] not in TERMINAL:
            yield f"{job_id} is still {job['status']}"
    strangers = set(it.cell.jobs) - set(it.notes.jobs.values())
    yield from (f"{job_id} exists although nobody was told of it" for job_id in strangers)


def every_batch_has_ended_and_is_written_down(it: Evidence) -> Iterator[str]:
    """Hold the batches against the store and the bucket: each is whole, has ended, is told of and written down."""
    records = dict(it.cell.under("batch:"))
    told = {event["job"] for _, event in it.cell.under("event:") if event["type"] == "batch.completed"}
    for batch_id, jobs in it.notes.batches.items():
        record = records.get(batch_id, {})
        if record.get("status") not in ("completed", "canceled") or int(record["total"]) != jobs:
            yield f"{batch_id} of {jobs} jobs is {record.get('status')} with {record.get('total')}"
            continue
        if batch_id not in told or "manifest" not in record:
            yield f"{batch_id} has ended, and nobody was told"
            continue
        key = orjson.loads(record["manifest"])["results_key"]
        lines = it.s3.get_object(Bucket=it.bucket, Key=key)["Body"].read().splitlines()
        found = {line["job"]["id"]: line["job"]["status"] for line in map(orjson.loads, lines)}
        ours = {job_id: job["status"] for job_id, job in it.cell.jobs.items() if job.get("batch") == batch_id}
        if found != ours:
            yield f"{batch_id}: its results say {found}, its jobs are {ours}"
    strangers = set(records) - set(it.notes.batches)
    yield from (f"{batch_id} exists although nobody was told of it" for batch_id in strangers)


def nothing_is_paid_twice(it: Evidence) -> Iterator[str]:
    """No prompt has more predictions than attempts that sent it, and no attempt has a duplicate."""
    for prompt, job_ids in it.askers.items():
        sent = sum(int(item.record.get("sends", 0)) > 0 for job_id in job_ids for item in it.attempts[job_id])
        bought = len(it.by_prompt[prompt])
        if bought > sent:
            yield f"{job_ids[0]} and {len(job_ids) - 1} alike bought {bought} predictions in {sent} attempts"
        for job_id in job_ids:
            if it.duplicates(job_id):
                yield f"{job_id} has duplicates {it.duplicates(job_id)}"


def every_prediction_is_known_as_somebodys(it: Evidence) -> Iterator[str]:
    """The ledger and the store name the same predictions, but for what is left to an operator."""
    for prompt, job_ids in it.askers.items():
        known = [one for job_id in job_ids for one in it.known(job_id)]
        bought = {entry["id"] for entry in it.by_prompt[prompt]}
        unsettled = sum(it.unsettled(job_id) for job_id in job_ids)
        if len(known) != len(set(known)):
            yield f"{job_ids[0]}: a prediction is owned twice: {known}"
        if set(known) - bought:
            yield f"{job_ids[0]} knows predictions that were not made for it: {set(known) - bought}"
        if len(bought - set(known)) > unsettled:
            yield f"{job_ids[0]} does not know of {bought - set(known)}, {unsettled} unsettled"
    orphans = set(it.by_prompt) - set(it.askers)
    yield from (f"predictions for {prompt!r}, which no job asked for" for prompt in orphans if it.by_prompt[prompt])


def money_agrees_with_the_ledger(it: Evidence) -> Iterator[str]:
    """What settled jobs say they cost is what was charged for them."""
    for prompt, job_ids in it.askers.items():
        if any(it.unsettled(job_id) for job_id in job_ids):
            continue
        charged = sum(entry["charged_usd"] for entry in it.by_prompt[prompt])
        spent = sum(it.shown[job_id]["cost"]["spent"] for job_id in job_ids)
        if abs(charged - spent) > 0.001:
            yield f"{job_ids[0]} and {len(job_ids) - 1} alike say {spent:.2f} USD, charged were {charged:.2f}"


def outputs_are_whole_and_the_jobs_own(it: Evidence) -> Iterator[str]:
    """Every stored image has its size and checksum, decodes, and was drawn for the job's own prediction."""
    for job_id, job in it.shown.items():
        if job["status"] == "completed" and not job["outputs"]:
            yield f"{job_id} is completed without outputs"
        for output in [*job["outputs"], *job["late_outputs"]]:
            data = it.s3.get_object(Bucket=it.bucket, Key=output["key"])["Body"].read()
            if (len(data), hashlib.sha256(data).hexdigest()) != (output["bytes"], output["sha256"]):
                yield f"{job_id}: {output['key']} is not what was recorded"
                continue
            size = _decoded_size(data)
            if size != (output["width"], output["height"]):
                yield f"{job_id}: {output['key']} is {size or 'no whole image'}"
            label = LABEL.search(data)
            number = output.get("attempt", job["attempt"])
            own = it.cell.at(f"{{darkroom}}:attempt:{job_id}:{number}").get("prediction_id")
            if label is None or label[1].decode() != own:
                yield f"{job_id}: {output['key']} shows {label and label[1]!r}, its prediction is {own}"
            elif it.by_id[own]["prompt"] != job["request"]["prompt"]:
                yield f"{job_id}: {output['key']} was drawn for {it.by_id[own]['prompt']!r}"


def _decoded_size(data: bytes) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image.size
    except (OSError, SyntaxError):  # what Pillow raises for broken files
        return None


def completed_jobs_have_all_that_upstream_made(it: Evidence) -> Iterator[str]:
    """As many outputs as the ledger's prediction has, and a job.json that says so."""
    for job_id, job in it.shown.items():
        if job["status"] != "completed":
            continue
        made = it.by_id[job["prediction_id"]]["outputs"] - ("null_output" in job["request"]["prompt"])
        if len(job["outputs"]) != made:
            yield f"{job_id} has {len(job['outputs'])} outputs of {made}"
        folder = job["outputs"][0]["key"].partition(job_id)[0] if job["outputs"] else ""
        found = orjson.loads(it.s3.get_object(Bucket=it.bucket, Key=f"{folder}{job_id}/job.json")["Body"].read())
        if (found["id"], found["status"], len(found["outputs"])) != (job_id, "completed", made):
            yield f"{job_id}: job.json says {found['status']} with {len(found['outputs'])} outputs"


def no_upload_is_left_open(it: Evidence) -> Iterator[str]:
    """No multipart upload waits for parts that nobody sends."""
    try:
        uploads = it.s3.list_multipart_uploads(Bucket=it.bucket).get("Uploads", [])
    except it.s3.exceptions.NoSuchUpload:  # the embedded server's way to say that there never was one
        return
    for upload in uploads:
        yield f"multipart upload of {upload.get('Key')} is left"


def each_end_was_told_under_one_id(it: Evidence) -> Iterator[str]:
    """Each end of a job is one event, received at least once; an id never names two events, nor an event two ids."""
    yield from it.unverified
    received: dict[str, set[tuple[str, str, str, str]]] = defaultdict(set)
    for hook in it.hooks:
        data = hook.body["data"]
        received[hook.webhook_id].add((hook.body["type"], hook.body["timestamp"], data["id"], data["status"]))
    for event_id, told in received.items():
        if len(told) > 1:
            yield f"{event_id} names several events: {told}"
    accepted = {hook.webhook_id for hook in it.hooks if hook.answered == 204}
    written = dict(it.cell.under("event:"))
    yield from (f"{event_id} was received and never written" for event_id in set(received) - set(written))
    told_of: Counter[tuple[str, str, str]] = Counter()
    for event_id, event in written.items():
        if event_id not in accepted:
            yield f"{event['job']}: {event_id} ({event['type']}) was never taken by its receiver"
        told_of[event["job"], event["type"], str(iso(event["at_ms"]))] += 1
    for (job_id, kind, at), count in told_of.items():
        if count > 1:
            yield f"{job_id}: {kind} at {at} has {count} ids"
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for (job_id, kind, _), count in told_of.items():
        kinds[job_id][kind] += count
    for job_id, job in it.cell.jobs.items():
        ends = Counter(f"job.{change.status}" for change in status_changes(job) if change.status in TERMINAL)
        if ends != kinds[job_id]:
            yield f"{job_id} ended {dict(ends)} and told of {dict(kinds[job_id])}"


def an_end_is_left_only_by_retry(it: Evidence) -> Iterator[str]:
    """No job went on after its end more often than its owner asked for."""
    for job_id, job in it.cell.jobs.items():
        left = sum(before.status in TERMINAL for before, _ in pairwise(status_changes(job)))
        if left > it.notes.retries[job_id]:
            yield f"{job_id} went on {left} times, asked were {it.notes.retries[job_id]}"


def the_store_is_whole(it: Evidence) -> Iterator[str]:
    """The rules that hold after every move hold now: no slot, lease, reservation or key is leaked."""
    yield from broken_rules(it.cell)
    yield from immortal_keys(it.cell)
    for lane in it.cell.lanes:
        if it.cell.at(f"{{darkroom}}:lane:{lane}:slots"):
            yield f"slots of {lane} are left: {it.cell.at(f'{{darkroom}}:lane:{lane}:slots')}"


RULES: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    every_accepted_job_has_ended,
    every_batch_has_ended_and_is_written_down,
    nothing_is_paid_twice,
    every_prediction_is_known_as_somebodys,
    money_agrees_with_the_ledger,
    outputs_are_whole_and_the_jobs_own,
    completed_jobs_have_all_that_upstream_made,
    no_upload_is_left_open,
    each_end_was_told_under_one_id,
    an_end_is_left_only_by_retry,
    the_store_is_whole,
)
