"""Batches on real parts: all their jobs done, written down and told of, whatever is killed meanwhile."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from mypy_boto3_s3 import S3Client
from standardwebhooks import Webhook

from simulator.testing import RunningSimulator
from tests.support.fleet import ADMIN_KEY, WEBHOOK_SECRET, Fleet
from tests.support.waiting import wait_until

MakeFleet = Callable[..., Fleet]


def lines(count: int, prompt: str = "a fox", **fields: Any) -> bytes:
    return b"".join(
        json.dumps({"prompt": f"{prompt} {n}", "custom_id": f"c{n}"} | fields).encode() + b"\n"
        for n in range(1, count + 1)
    )


def post(fleet: Fleet, body: bytes | Iterator[bytes], query: str = "", **headers: str) -> httpx.Response:
    return fleet.client.post(
        f"/v1/batches{query}", content=body, headers={"Content-Type": "application/x-ndjson"} | headers
    )


def ended(fleet: Fleet, batch_id: str) -> dict[str, Any]:
    """Wait until a batch has ended and is written down."""

    def reached() -> dict[str, Any] | None:
        batch: dict[str, Any] = fleet.client.get(f"/v1/batches/{batch_id}").json()
        return batch if batch["manifest"] else None

    return wait_until(reached, timeout_s=60, what="the batch to end")


def test_a_batch_is_done_written_down_and_told_of_in_order(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator, s3: S3Client
) -> None:
    fleet = make_fleet()
    fleet.start_worker()
    fleet.start_api()
    posted = post(fleet, lines(20, "a batch of foxes", max_images=2), f"?webhook_url={fleet.receiver.url}").json()
    batch = ended(fleet, posted["id"])
    assert (batch["status"], batch["counts"]["completed"]) == ("completed", 20)
    assert batch["cost"]["spent"] == batch["cost"]["estimated"] == 1.6
    assert batch["cost"]["images_delivered"] == 40
    assert fresh_simulator.ledger("a batch of foxes")["totals"]["predictions"] == 20
    shown = [json.loads(line) for line in fleet.client.get(f"/v1/batches/{batch['id']}/results").text.splitlines()]
    assert [item["line"] for item in shown] == list(range(1, 21))
    assert [item["custom_id"] for item in shown] == [f"c{n}" for n in range(1, 21)]
    manifest = batch["manifest"]
    kept = s3.get_object(Bucket=manifest["bucket"], Key=manifest["results_key"])["Body"].read().splitlines()
    written = [json.loads(line) for line in kept]
    assert [item["job"]["id"] for item in written] == [item["job"]["id"] for item in shown]
    assert "url" not in written[0]["job"]["outputs"][0]
    assert "url" in shown[0]["job"]["outputs"][0]
    description = json.loads(s3.get_object(Bucket=manifest["bucket"], Key=manifest["batch_key"])["Body"].read())
    assert (description["counts"], description["manifest"]) == (batch["counts"], manifest)

    def told() -> list[Any]:
        return [item for item in fleet.receiver.received if item.event["data"]["id"] == batch["id"]]

    [received] = wait_until(told)
    event = Webhook(WEBHOOK_SECRET).verify(received.body, received.headers)
    assert (event["type"], event["data"]["counts"]["completed"]) == ("batch.completed", 20)
    [delivery] = fleet.client.get(f"/v1/batches/{batch['id']}/deliveries").json()["data"]
    assert (delivery["batch_id"], delivery["job_id"], delivery["type"]) == (batch["id"], None, "batch.completed")


def test_a_batch_is_told_of_only_once_the_bucket_has_taken_what_became_of_it(
    make_fleet: MakeFleet, s3: S3Client
) -> None:
    fleet = make_fleet(DARKROOM_S3_BUCKET="batches-later")
    worker = fleet.start_worker()
    fleet.start_api()
    fleet.client.post("/v1/lanes/default/pause", headers={"Authorization": f"Bearer {ADMIN_KEY}"}).raise_for_status()
    batch_id = post(fleet, lines(5), f"?webhook_url={fleet.receiver.url}").json()["id"]
    fleet.client.post(f"/v1/batches/{batch_id}/cancel").raise_for_status()
    wait_until(lambda: "batch.not_written" in worker.output, 30, what="the bucket to refuse the manifest")
    batch = fleet.client.get(f"/v1/batches/{batch_id}").json()
    assert (batch["status"], batch["counts"]["canceled"], batch["manifest"]) == ("canceled", 5, None)
    assert fleet.client.get(f"/v1/batches/{batch_id}/deliveries").json()["data"] == []
    s3.create_bucket(Bucket="batches-later")
    fleet.redis.zadd("{darkroom}:due", {f"m:{batch_id}": 0}, xx=True)
    manifest = ended(fleet, batch_id)["manifest"]
    kept = s3.get_object(Bucket="batches-later", Key=manifest["results_key"])["Body"].read().splitlines()
    assert [json.loads(line)["job"]["status"] for line in kept] == ["canceled"] * 5
    [received] = wait_until(lambda: fleet.receiver.received, what="the batch's webhook")
    assert received.event["type"] == "batch.completed"


def test_a_batch_outlives_kills_of_its_worker_and_each_job_is_bought_once(
    make_fleet: MakeFleet, fresh_simulator: RunningSimulator
) -> None:
    fleet = make_fleet(DARKROOM_SUBMIT_TIMEOUT_SECONDS=1, DARKROOM_RECONCILE_WINDOW_SECONDS=3)
    worker = fleet.start_worker()
    fleet.start_api()
    batch_id = post(fleet, lines(60)).json()["id"]

    def some_are_done() -> bool:
        return bool(fleet.client.get(f"/v1/batches/{batch_id}").json()["counts"]["completed"] > 3)

    wait_until(some_are_done, timeout_s=60)
    worker.kill()
    fleet.start_worker("w2")
    batch = wait_until(lambda: _status(fleet, batch_id, "completed"), timeout_s=240, what="the batch to end")
    results = fleet.client.get(f"/v1/batches/{batch_id}/results").text.splitlines()
    errors = [job["error"] for job in (json.loads(line)["job"] for line in results) if job["error"]]
    assert (errors, batch["counts"]["completed"]) == ([], 60)
    assert fresh_simulator.ledger("a fox")["totals"]["predictions"] == 60


def _status(fleet: Fleet, batch_id: str, wanted: str) -> dict[str, Any] | None:
    batch: dict[str, Any] = fleet.client.get(f"/v1/batches/{batch_id}").json()
    return batch if batch["status"] == wanted else None


def test_an_api_that_is_killed_in_mid_upload_leaves_none_of_it(make_fleet: MakeFleet) -> None:
    """The second upload is accepted under the same key once the first has been silent for long enough."""
    fleet = make_fleet()
    fleet.start_worker()
    api = fleet.start_api()
    staged, killed = threading.Event(), threading.Event()

    def upload() -> None:
        def slowly() -> Iterator[bytes]:
            yield lines(600)
            staged.set()
            assert killed.wait(30)
            yield lines(1)

        try:
            post(fleet, slowly(), **{"Idempotency-Key": "k"})
        except httpx.TransportError:
            return

    uploading = threading.Thread(target=upload)
    uploading.start()
    assert staged.wait(30)
    wait_until(lambda: fleet.redis.keys("*job:*"), what="the first lines to be staged")
    api.kill()
    killed.set()
    uploading.join(30)
    fleet.start_api()
    assert fleet.client.get("/v1/jobs").json()["data"] == []

    def accepted() -> dict[str, Any] | None:
        answer = post(fleet, lines(3), **{"Idempotency-Key": "k"})
        assert answer.status_code in (202, 409), answer.text
        return answer.json() if answer.status_code == 202 else None

    batch = wait_until(accepted, timeout_s=60, what="the key to be free again")
    assert ended(fleet, batch["id"])["counts"]["completed"] == 3
    assert len(fleet.client.get("/v1/jobs?limit=200").json()["data"]) == 3
    wait_until(lambda: len(fleet.redis.keys("*:job:*")) == 3, timeout_s=60, what="what was staged to go")
