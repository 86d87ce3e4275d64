"""What must be true of a batch that met kills once all has ended: whole, paid once, written down whole and told of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from mypy_boto3_s3 import S3Client

from tests.chaos.kill.rig import Rig


@dataclass(frozen=True, slots=True)
class BatchVerdict:
    """What became of one batch."""

    lost: int
    """Jobs that are not there, or did not end as they must."""
    predictions: int
    """Most predictions that one of its jobs has."""
    webhook_ids: int
    problems: tuple[str, ...]


def judge_batch(rig: Rig, client: S3Client, batch_id: str, *, ends: str) -> BatchVerdict:
    """Hold a batch against the ledger, the bucket and what the receiver heard; all its jobs must end as `ends` says."""
    batch = rig.fleet.client.get(f"/v1/batches/{batch_id}").json()
    jobs = [rig.fleet.job(job_id) for job_id in rig.batches[batch_id]]
    bought = [len(rig.predictions(job["id"])) for job in jobs]
    heard = rig.fleet.receiver.of_job(batch_id)
    ids = {item.headers["webhook-id"] for item in heard}
    problems = [*_counts(batch, jobs, ends), *_written(client, batch, jobs)]
    if any(count != int(ends == "completed") for count in bought):
        problems.append(f"{bought} predictions were bought for its jobs")
    if not heard or {item.event["type"] for item in heard} != {"batch.completed"} or len(ids) != 1:
        problems.append(f"was told {[item.event['type'] for item in heard]} under {len(ids)} ids")
    problems += [f"{job['id']} ended {_ends(rig, job)} times" for job in jobs if _ends(rig, job) != 1]
    lost = sum(job["status"] != ends for job in jobs)
    return BatchVerdict(lost, max(bought), len(ids), tuple(problems))


def _counts(batch: dict[str, Any], jobs: list[dict[str, Any]], ends: str) -> Iterator[str]:
    if (batch["status"], batch["total"], batch["counts"][ends]) != (ends, len(jobs), len(jobs)):
        yield f"is {batch['status']}, counts {batch['counts']}"
    unit = batch["cost"]["unit_price"] if ends == "completed" else 0
    if round(batch["cost"]["spent"], 4) != round(unit * batch["cost"]["images_requested"], 4):
        yield f"shows {batch['cost']['spent']} USD as spent"


def _written(client: S3Client, batch: dict[str, Any], jobs: list[dict[str, Any]]) -> Iterator[str]:
    """Compare what is in the bucket with what the API says."""
    manifest = batch["manifest"]
    bodies = [
        client.get_object(Bucket=manifest["bucket"], Key=manifest[name])["Body"].read()
        for name in ("results_key", "batch_key")
    ]
    results = [orjson.loads(line) for line in bodies[0].splitlines()]
    if [(line["job"]["id"], line["job"]["status"]) for line in results] != [(job["id"], job["status"]) for job in jobs]:
        yield f"its results are {[(line['line'], line['job']['status']) for line in results]}"
    written = orjson.loads(bodies[1])
    if any(written[name] != batch[name] for name in ("id", "status", "total", "counts", "manifest")):
        yield f"batch.json says {written}"


def _ends(rig: Rig, job: dict[str, Any]) -> int:
    """Count how often a job has come to its end since it was last retried."""
    record = rig.job(job["id"])
    return sum(f",{job['status']}," in change for change in record["events"].split(";"))
