"""A job from a Python program's submit to its files, on a whole service of real processes."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from mypy_boto3_s3 import S3Client

from darkroom.client import Batch, BatchStatus, DownloadFailed, Job, JobStatus, verify_webhook
from simulator.testing import RunningSimulator
from tests.support.fleet import WEBHOOK_SECRET, Fleet
from tests.support.waiting import wait_until


def test_a_program_gets_its_pictures(whole: Any, tmp_path: Path) -> None:
    job = whole.submit("a fox in three panels", max_images=3, metadata={"order": "1"})
    statuses = [change.status for change in whole.events(job.id)]
    assert statuses == ["queued", "submitting", "generating", "storing", "completed"]
    done = whole.wait(job, timeout_s=30)
    assert done.status is JobStatus.COMPLETED
    paths = whole.download(done, tmp_path)
    assert paths == [tmp_path / job.id / f"{index:02d}.png" for index in range(3)]
    for path, output in zip(paths, done.outputs, strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == output.sha256
    assert sorted(paths[0].parent.iterdir()) == paths
    written = [path.stat().st_mtime_ns for path in paths]
    assert whole.download(job.id, str(tmp_path)) == paths
    assert [path.stat().st_mtime_ns for path in paths] == written


def test_an_object_that_was_changed_in_the_bucket_is_not_taken(
    whole: Any, tmp_path: Path, s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.client.steps.FIRST_PAUSE_S", 0.01)
    done = whole.wait(whole.submit("a hare"), timeout_s=30)
    [output] = done.outputs
    image = s3.get_object(Bucket=output.bucket, Key=output.key)["Body"].read()
    s3.put_object(Bucket=output.bucket, Key=output.key, Body=image[:-1] + bytes([image[-1] ^ 1]))
    with pytest.raises(DownloadFailed, match="sha256"):
        whole.download(done, tmp_path)
    assert list((tmp_path / done.id).iterdir()) == []


def test_an_object_that_is_gone_is_said_to_be(whole: Any, tmp_path: Path, s3: S3Client) -> None:
    done = whole.wait(whole.submit("an owl"), timeout_s=30)
    s3.delete_object(Bucket=done.outputs[0].bucket, Key=done.outputs[0].key)
    with pytest.raises(DownloadFailed, match="404") as failure:
        whole.download(done, tmp_path)
    assert "Signature" not in str(failure.value)


def test_a_failed_job_is_retried_to_its_end(whole: Any, simulator: RunningSimulator) -> None:
    done = whole.wait(whole.submit("a stoat [[sim:fail=1200]]"), timeout_s=30)
    assert done.status is JobStatus.FAILED
    assert done.error.upstream


def test_its_webhook_is_verified_and_read(whole: Any, fleet: Fleet) -> None:
    job = whole.submit("a badger", webhook=fleet.receiver.url)
    received = wait_until(lambda: fleet.receiver.of_job(job.id), what="the webhook")[0]
    event = verify_webhook(received.body, received.headers, WEBHOOK_SECRET)
    assert event.type == "job.completed"
    assert event.id.startswith("evt_")
    assert isinstance(event.data, Job)
    assert event.data.outputs[0].sha256 == whole.job(job.id).outputs[0].sha256


def test_a_batch_goes_all_the_way(whole: Any, fleet: Fleet, tmp_path: Path) -> None:
    told: list[int] = []
    prompts = ["a fox", "a hare [[sim:fail=1200]]", "an owl"]
    batch = whole.submit_batch(
        ({"prompt": prompt, "custom_id": f"line-{number}"} for number, prompt in enumerate(prompts, 1)),
        webhook=fleet.receiver.url,
    )
    done = whole.wait_batch(batch.id, timeout_s=60, progress=lambda one: told.append(one.counts.finished))
    assert done.status is BatchStatus.COMPLETED
    assert (done.counts.completed, done.counts.failed) == (2, 1)
    assert told == sorted(told)
    assert told[-1] == 3
    results = list(whole.results(batch.id))
    assert [(one.line, one.custom_id, one.job.status.value) for one in results] == [
        (1, "line-1", "completed"),
        (2, "line-2", "failed"),
        (3, "line-3", "completed"),
    ]
    assert [path.name for path in whole.download(results[2].job, tmp_path)] == ["00.png"]
    received = wait_until(lambda: fleet.receiver.of_job(batch.id), what="the batch's webhook")[0]
    event = verify_webhook(received.body, received.headers, WEBHOOK_SECRET)
    assert event.type == "batch.completed"
    assert isinstance(event.data, Batch)
    assert event.data.counts.completed == 2
