"""A long line, made by the scripts themselves: posting it over HTTP would take minutes and measure something else."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import orjson
import redis

from darkroom.ids import new_id
from darkroom.jobs import JobRequest, Webhook
from darkroom.store import keys
from darkroom.store.connection import connect
from darkroom.store.scripts import Scripts, digests, sources

AT_ONCE = 200
PROMPT = "A fox finds a lantern in the snow and carries it home through the wood, four panels, soft light. " * 3
PROMPT_CHARACTERS = 200
TTL_MS = 7 * 86_400_000

Arguments = tuple[str | int, ...]


def enqueue_arguments(tenant: str, images: int, *, expires_in_ms: int = 0, webhook_url: str | None = None) -> Arguments:
    """Give what `enqueue.lua` is called with for one job with a prompt of 200 characters; the id comes first."""
    webhook = Webhook(url=webhook_url) if webhook_url else None
    request = JobRequest(prompt=PROMPT[:PROMPT_CHARACTERS], max_images=images, webhook=webhook)
    body = orjson.dumps(request.model_dump(mode="json", exclude_defaults=True)).decode()
    return (new_id("job"), tenant, images, "normal", body, expires_in_ms, "", "", 1, 10_000_000, TTL_MS, 0)


def fill(redis_url: str, jobs: Iterable[Arguments]) -> list[str]:
    """Let these jobs wait and give their ids."""
    return asyncio.run(_fill(redis_url, jobs))


async def _fill(redis_url: str, jobs: Iterable[Arguments]) -> list[str]:
    connection = connect(redis_url, timeout_s=60)
    scripts, ids, todo = Scripts(connection), [], iter(jobs)
    try:
        while batch := list(islice(todo, AT_ONCE)):
            await scripts.call_all([("enqueue", arguments) for arguments in batch])
            ids += [str(arguments[0]) for arguments in batch]
    finally:
        await connection.aclose()
    return ids


def call_each(client: "redis.Redis", name: str, calls: Sequence[Arguments]) -> float:
    """Call a script once for each of these and give the microseconds that a call took inside the server."""
    for text in sources().values():
        client.script_load(text)
    client.config_resetstat()
    for batch in _batches(calls):
        pipe = client.pipeline(transaction=False)
        for arguments in batch:
            pipe.evalsha(digests()[name], 1, keys.ROOT, *arguments)
        pipe.execute()
    stats = client.info("commandstats")["cmdstat_evalsha"]
    if int(stats["calls"]) != len(calls) or int(stats["failed_calls"]):
        raise RuntimeError(f"{name}: {stats}")
    return float(stats["usec"]) / len(calls)


def _batches(calls: Sequence[Arguments]) -> Iterator[Sequence[Arguments]]:
    for start in range(0, len(calls), AT_ONCE):
        yield calls[start : start + AT_ONCE]
