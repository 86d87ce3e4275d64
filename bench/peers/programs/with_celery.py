"""Two ways with Celery: the official SDK inside one task, and a task that retries itself until the result is there."""

import os

import shared
from celery import Celery, Task
from keeping import get, keep, post
from wavespeed import Client

app = Celery("peer", broker=shared.BROKER_URL)
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
if os.environ.get("PEER_ACKS_LATE"):
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        broker_transport_options={"visibility_timeout": int(os.environ["PEER_ACKS_LATE"])},
    )


@app.task
def generate(job_id: str, prompt: str) -> None:
    """Run the model to its end, keep what it made, tell of it."""
    client = Client(api_key=shared.UPSTREAM_KEY, base_url=shared.UPSTREAM)
    result = client.run(shared.MODEL, shared.request(prompt), poll_interval=shared.LOOK_EVERY_S)
    keep(job_id, prompt, result["outputs"])


@app.task(bind=True, max_retries=None)
def generate_by_retries(self: Task, job_id: str, prompt: str, prediction_id: str | None = None) -> None:
    """Submit, then come back every two seconds until the prediction is completed."""
    if prediction_id is None:
        prediction_id = str(post(shared.SUBMIT_URL, shared.request(prompt))["id"])
        raise self.retry(kwargs={"prediction_id": prediction_id}, countdown=shared.LOOK_EVERY_S)
    data = get(shared.result_url(prediction_id))
    if data["status"] != "completed":
        raise self.retry(countdown=shared.LOOK_EVERY_S)
    keep(job_id, prompt, list(data["outputs"]))
