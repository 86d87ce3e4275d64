"""Many jobs at once: one batch of NDJSON."""

import httpx
import orjson

from bench.figures import BenchError
from bench.fleet import Fleet

TIMEOUT_S = 120.0


def post_batch(fleet: Fleet, jobs: int, *, first: int = 0) -> None:
    """Post jobs numbered from `first` as one batch, each with a webhook of its own."""
    lines = b"\n".join(orjson.dumps(fleet.body(number)) for number in range(first, first + jobs))
    headers = fleet.headers | {"Content-Type": "application/x-ndjson"}
    answer = httpx.post(f"{fleet.api_url}/v1/batches", content=lines, headers=headers, timeout=TIMEOUT_S)
    if answer.status_code != 202:
        raise BenchError(f"POST answered {answer.status_code}: {answer.text[:300]}")
