"""What must be true once everything has ended, whatever was killed on the way."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client
from PIL import Image

from darkroom.store import keys
from tests.chaos.kill.rig import Rig
from tests.support.cell import Cell
from tests.support.conservation import broken_rules
from tests.support.lifetimes import immortal_keys
from tests.support.s3 import s3_client


@dataclass(frozen=True, slots=True)
class JobVerdict:
    """What became of one job."""

    completed: bool
    predictions: int
    attempts: int
    webhook_ids: int
    problems: tuple[str, ...]


def judge(rig: Rig) -> list[str]:
    """Name everything that is not as it must be: in the jobs, the bucket and the store."""
    client = s3_client(rig.s3)
    try:
        jobs = {job_id: judge_job(rig, client, job_id) for job_id in rig.jobs}
        found = [f"{rig.jobs[job_id]!r}: {problem}" for job_id, job in jobs.items() for problem in job.problems]
        return [*found, *_bucket(rig, client), *_store(rig)]
    finally:
        client.close()


def judge_job(rig: Rig, client: S3Client, job_id: str) -> JobVerdict:
    """Hold one job against the ledger, the bucket and what the receiver heard."""
    job = rig.fleet.job(job_id)
    predictions = rig.predictions(job_id)
    heard = rig.fleet.receiver.of_job(job_id)
    ids = {item.headers["webhook-id"] for item in heard}
    problems = [*_history(rig, job_id, job), *_objects(client, rig.bucket, job)]
    if len(predictions) != job["attempt"]:
        problems.append(f"{len(predictions)} predictions were bought in {job['attempt']} attempts")
    if job["cost"]["spent"] != job["cost"]["estimated"] * job["attempt"]:
        problems.append(f"shows {job['cost']['spent']} USD as spent")
    if not heard or {item.event["type"] for item in heard} != {f"job.{job['status']}"} or len(ids) != 1:
        problems.append(f"was told {[item.event['type'] for item in heard]} under {len(ids)} ids")
    return JobVerdict(job["status"] == "completed", len(predictions), job["attempt"], len(ids), tuple(problems))


def _history(rig: Rig, job_id: str, job: dict[str, Any]) -> Iterator[str]:
    if job["status"] != "completed":
        yield f"ended {job['status']}: {job['error']}"
    ends = [change for change in rig.job(job_id)["events"].split(";") if ",completed," in change]
    if len(ends) != 1:
        yield f"was completed {len(ends)} times"
    if len(job["outputs"]) != job["request"]["max_images"]:
        yield f"shows {len(job['outputs'])} outputs"


def _objects(client: S3Client, bucket: str, job: dict[str, Any]) -> Iterator[str]:
    for output in job["outputs"]:
        body = client.get_object(Bucket=bucket, Key=output["key"])["Body"].read()
        if (len(body), hashlib.sha256(body).hexdigest()) != (output["bytes"], output["sha256"]):
            yield f"output {output['index']} is not what the job says"
        with Image.open(io.BytesIO(body)) as image:
            image.load()
            if (image.format, image.size) != ("PNG", (output["width"], output["height"])):
                yield f"output {output['index']} is a {image.format} of {image.size}"


def _bucket(rig: Rig, client: S3Client) -> Iterator[str]:
    told = {output["key"] for job_id in rig.prompts for output in rig.fleet.job(job_id)["outputs"]}
    for batch_id in rig.batches:
        manifest = rig.fleet.client.get(f"/v1/batches/{batch_id}").json()["manifest"]
        told |= {manifest["batch_key"], manifest["results_key"]}
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=rig.bucket)
    kept = {item["Key"] for page in pages for item in page.get("Contents", ()) if not item["Key"].endswith("/job.json")}
    if kept != told:
        yield f"the bucket also holds {sorted(kept - told)} and lacks {sorted(told - kept)}"
    if uploads := _multipart_uploads(client, rig.bucket):
        yield f"multipart uploads are left: {uploads}"


def _multipart_uploads(client: S3Client, bucket: str) -> list[str]:
    try:
        uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchUpload":  # so says rclone where there never was one
            raise
        return []
    return [upload.get("Key", "?") for upload in uploads]


def _store(rig: Rig) -> Iterator[str]:
    cell = Cell.read(rig.fleet.redis)
    yield from broken_rules(cell)
    yield from immortal_keys(cell)
    for lane in cell.lanes:
        for name in (keys.slots(lane), keys.unsent(lane)):
            if cell.at(name):
                yield f"{name} still holds {sorted(cell.at(name))}"
    if left := [member for member in cell.at(keys.DUE) if member[0] in "jdxsm"]:
        yield f"timers are left: {left}"
    found, answered = {*cell.jobs, *(name for name, _ in cell.under("batch:"))}, {*rig.prompts, *rig.batches}
    if found != answered:
        yield f"jobs or batches that nobody was answered: {found - answered}, lost: {answered - found}"
