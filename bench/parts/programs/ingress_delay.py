"""FastAPI and `.delay()`, as both documentations say: `uvicorn bench.parts.programs.ingress_delay:api`."""

import os

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

celery = Celery("peer", broker=os.environ["PEER_BROKER_URL"])
celery.conf.task_ignore_result = True
api = FastAPI()


class Job(BaseModel):
    """What is asked for."""

    prompt: str
    max_images: int = 1


@celery.task
def generate(prompt: str, max_images: int) -> None:
    """Never run: nobody consumes."""


@api.post("/v1/jobs", status_code=202)
def post(job: Job) -> dict[str, str]:
    """Enqueue one; FastAPI runs this in its thread pool, because `.delay()` blocks."""
    return {"id": generate.delay(job.prompt, job.max_images).id}
