"""Results of a batch: however many URLs they need, others go on in between."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import orjson

from api.routes.batches import results_of
from api.services import Services
from darkroom.store.batch_ids import line_of, new_batch_id
from darkroom.store.batches import BatchRecord
from darkroom.store.records import JobRecord


class Jobs:
    """Completed jobs, whatever is asked for."""

    async def read_many(self, job_ids: list[str]) -> list[JobRecord]:
        job = {"status": "completed", "request": "{}", "attempt": "1", "images": "1", "priority": "normal"}
        output = orjson.dumps({"index": 0, "key": "k"}).decode()
        return [JobRecord(job_id, job, {"state": "done", "out:0": output}) for job_id in job_ids]


class Bucket:
    """Counts what else went on since the URL before."""

    def __init__(self) -> None:
        self.turns = 0
        self.turns_between: list[int] = []

    async def renew_credentials(self) -> None:
        """Do nothing, as with credentials that last."""

    def object_url(self, key: str) -> tuple[str, None]:
        self.turns_between.append(self.turns)
        self.turns = 0
        return f"https://b.example/{key}", None


async def test_others_go_on_between_the_jobs_of_a_long_answer() -> None:
    bucket = Bucket()

    async def go_on() -> None:
        while True:
            bucket.turns += 1
            await asyncio.sleep(0)

    services = cast(Services, cast(Any, SimpleNamespace(jobs=Jobs(), bucket=bucket, base_url="")))
    record = BatchRecord(new_batch_id(), {"last_line": "450"})
    other = asyncio.create_task(go_on())
    body = b"".join([part async for part in results_of(services, record, 0)])
    other.cancel()
    assert [orjson.loads(line)["line"] for line in body.splitlines()] == list(range(1, 451))
    assert line_of(orjson.loads(body.splitlines()[-1])["job"]["id"]) == 450
    assert min(bucket.turns_between[1:]) > 0
