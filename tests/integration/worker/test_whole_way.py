"""One job all the way on real parts: api, Celery worker, Valkey, bucket, simulator, webhook."""

import hashlib
import json

import httpx
from mypy_boto3_s3 import S3Client
from standardwebhooks import Webhook

from simulator.testing import RunningSimulator
from tests.support.fleet import WEBHOOK_SECRET, Fleet
from tests.support.waiting import wait_until


def test_a_job_goes_all_the_way_and_is_told_of(fleet: Fleet, simulator: RunningSimulator, s3: S3Client) -> None:
    job_id = fleet.submit(
        "a whole fox in four panels", max_images=4, webhook={"url": fleet.receiver.url}, metadata={"order": "1234"}
    )
    job = fleet.wait_for(job_id)
    assert job["status"] == "completed", job["error"]
    assert [output["index"] for output in job["outputs"]] == [0, 1, 2, 3]
    assert job["cost"] == {
        "currency": "USD",
        "unit_price": 0.04,
        "estimated": 0.16,
        "spent": 0.16,
        "images_requested": 4,
        "images_delivered": 4,
    }
    for output in job["outputs"]:
        image = httpx.get(output["url"])
        assert image.status_code == 200
        assert hashlib.sha256(image.content).hexdigest() == output["sha256"]
        assert len(image.content) == output["bytes"]
        assert (output["content_type"], output["width"], output["height"]) == ("image/png", 2048, 2048)
    folder = job["outputs"][0]["key"].rpartition("/")[0]
    kept = json.loads(s3.get_object(Bucket=job["outputs"][0]["bucket"], Key=f"{folder}/job.json")["Body"].read())
    assert kept["status"] == "completed"
    assert kept["finished_at"] == job["finished_at"]
    assert "url" not in kept["outputs"][0]
    assert simulator.ledger("a whole fox")["totals"]["predictions"] == 1

    received = wait_until(lambda: fleet.receiver.of_job(job_id))[0]
    event = Webhook(WEBHOOK_SECRET).verify(received.body, received.headers)
    assert event["type"] == "job.completed"
    assert event["data"]["outputs"][3]["sha256"] == job["outputs"][3]["sha256"]
    assert received.headers["webhook-id"].startswith("evt_")


def test_the_history_shows_every_status_once_and_in_order(fleet: Fleet) -> None:
    job_id = fleet.submit()
    statuses = []
    with fleet.client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                statuses.append(json.loads(line.removeprefix("data:"))["status"])
    assert statuses == ["queued", "submitting", "generating", "storing", "completed"]


def test_base64_outputs_end_up_as_images(fleet: Fleet) -> None:
    job = fleet.wait_for(fleet.submit("two foxes", max_images=2, enable_base64_output=True))
    assert job["status"] == "completed", job["error"]
    assert [output["content_type"] for output in job["outputs"]] == ["image/png", "image/png"]


def test_sync_mode_is_looked_at_once_its_answer_is_there(fleet: Fleet) -> None:
    job = fleet.wait_for(fleet.submit("a fox", enable_sync_mode=True))
    assert job["status"] == "completed", job["error"]
    assert job["timings"]["polls"] == 1


def test_fewer_outputs_than_asked_complete_the_job_and_show(fleet: Fleet) -> None:
    job = fleet.wait_for(fleet.submit("four foxes [[sim:outputs=3]]", max_images=4))
    assert job["status"] == "completed", job["error"]
    assert (job["cost"]["images_requested"], job["cost"]["images_delivered"]) == (4, 3)


def test_moderation_fails_the_job_for_good_and_a_receiver_hears_of_it(
    fleet: Fleet, simulator: RunningSimulator
) -> None:
    job_id = fleet.submit("a rude fox [[sim:fail=1200]]", webhook={"url": fleet.receiver.url})
    job = fleet.wait_for(job_id)
    assert (job["status"], job["error"]["code"], job["error"]["retryable"]) == ("failed", "content_moderation", False)
    event = wait_until(lambda: fleet.receiver.of_job(job_id))[0].event
    assert (event["type"], event["data"]["error"]["code"]) == ("job.failed", "content_moderation")
    assert simulator.ledger("a rude fox")["totals"]["predictions"] == 1


def test_a_transient_failure_is_replaced_once_and_both_attempts_are_counted(
    fleet: Fleet, simulator: RunningSimulator
) -> None:
    job = fleet.wait_for(fleet.submit("an unlucky fox [[sim:fail=5000]]"))
    assert (job["status"], job["attempt"], job["submits"]) == ("failed", 2, 2)
    assert job["cost"]["spent"] == 0.08
    assert simulator.ledger("an unlucky fox")["totals"]["predictions"] == 2


def test_a_missing_output_is_fetched_once_it_is_there(fleet: Fleet) -> None:
    job = fleet.wait_for(fleet.submit("three foxes [[sim:missing=2,times=2]]", max_images=3))
    assert job["status"] == "completed", job["error"]
    assert job["cost"]["images_delivered"] == 3


def test_a_webhook_is_tried_again_with_the_same_id(fleet: Fleet) -> None:
    fleet.receiver.answers = [500, 302]
    job_id = fleet.submit(webhook={"url": fleet.receiver.url})
    attempts = wait_until(lambda: got if len(got := fleet.receiver.of_job(job_id)) == 3 else None)
    assert len({item.headers["webhook-id"] for item in attempts}) == 1
    deliveries = wait_until(
        lambda: (
            found
            if (found := fleet.client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"])[0]["status"] == "delivered"
            else None
        )
    )
    assert [attempt["status_code"] for attempt in deliveries[0]["attempts"]] == [500, 302, 204]
    assert all(attempt["at"].endswith("Z") for attempt in deliveries[0]["attempts"])
