"""A pipeline that webhooks drive: a job draws a character sheet, and once that is completed another draws a strip.

    make run                                                                # in one terminal
    .venv/bin/python examples/pipeline/pipeline.py                          # in another, in the same folder
    .venv/bin/python examples/pipeline/start.py "a fox in a red scarf"      # in a third
    .venv/bin/darkroom jobs --metadata "character=a fox in a red scarf"     # both jobs, a few seconds later

`make run` lets webhooks reach this machine; elsewhere the receiver needs an https address (docs/webhooks.md). Without
`make run`, DARKROOM_URL, DARKROOM_API_KEY and DARKROOM_WEBHOOK_SECRET say what it keeps in `.darkroom/`.

Each step is done once, whatever is sent twice or killed: a webhook is answered as soon as its id and what is to be done
are on the disk together; the next job is posted after that, under a key made of the finished job's id, and again after
a restart until its own id is on the disk. Nothing goes round: what follows goes by the step in the job's metadata.
"""

import argparse
import asyncio
import contextlib
import os
import sqlite3
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response

from darkroom.client import AsyncClient, ConnectionFailed, DarkroomError, Job, WebhookRefused, verify_webhook

STRIP = "A comic strip in 4 panels about {character}, drawn as on its character sheet: it finds a lantern."
NEXT = {"sheet": "strip", "strip": None}  # nothing follows a strip
AGAIN_S = 10
TABLE = """CREATE TABLE IF NOT EXISTS steps (
    webhook_id TEXT PRIMARY KEY, job TEXT, step TEXT, images INTEGER, spent_usd REAL,
    next_job TEXT  -- NULL while it is still to be posted, empty where none follows
)"""


def setting(name: str) -> str:
    """Read what the environment says, or else what `make run` keeps."""
    kept = Path(".darkroom", name.removeprefix("DARKROOM_").replace("_", "-").lower())
    found = os.environ.get(name) or (kept.read_text().strip() if kept.exists() else "")
    return found or sys.exit(f"{name} is not set, and `make run` has left none in {kept}")


API_KEY, WEBHOOK_SECRET = setting("DARKROOM_API_KEY"), setting("DARKROOM_WEBHOOK_SECRET")
app = FastAPI()
work = asyncio.Event()
db = sqlite3.connect("pipeline.sqlite3", timeout=30)
db.execute(TABLE)


@app.post("/")
async def receive(request: Request) -> Response:
    try:
        event = verify_webhook(await request.body(), request.headers, WEBHOOK_SECRET)
    except WebhookRefused:
        return Response(status_code=401)
    job = event.data
    if not isinstance(job, Job) or (step := job.metadata.get("pipeline_step", "")) not in NEXT:
        return Response(status_code=204)  # not of this pipeline
    if event.type != "job.completed":
        print(f"{job.id} ({step}) is {job.status}; `darkroom retry {job.id}` lets the pipeline go on", flush=True)
        return Response(status_code=204)
    record = (event.id, job.id, step, job.cost.images_delivered, job.cost.spent, None if NEXT[step] else "")
    with db:  # on the disk before it is answered
        db.execute("INSERT OR IGNORE INTO steps VALUES (?, ?, ?, ?, ?, ?)", record)
    work.set()
    return Response(status_code=204)


async def post_next_jobs(darkroom: AsyncClient) -> None:
    """Post what follows each finished step, for ever; what can't be posted just now is tried again."""
    while True:
        work.clear()
        waiting = db.execute("SELECT webhook_id, job FROM steps WHERE next_job IS NULL").fetchall()
        for webhook_id, job_id in waiting:
            try:
                following = await post_next_job(darkroom, job_id)
            except DarkroomError as error:
                print(f"after {job_id}: {error}; tried again in {AGAIN_S} s", flush=True)
                continue
            with db:
                db.execute("UPDATE steps SET next_job = ? WHERE webhook_id = ?", (following.id, webhook_id))
            print(f"{job_id} is completed, {following.id} follows", flush=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work.wait(), AGAIN_S)


async def post_next_job(darkroom: AsyncClient, job_id: str) -> Job:
    """Post the job that follows, or give the one that does: found by its key for a day, by its metadata for longer."""
    async for following in darkroom.jobs(metadata={"after": job_id}, limit=1):
        return following
    job = await darkroom.job(job_id)
    return await darkroom.submit(
        STRIP.format(character=job.metadata.get("character", "somebody")),
        max_images=4,
        webhook=job.request.webhook,
        metadata=job.metadata | {"pipeline_step": str(NEXT[job.metadata["pipeline_step"]]), "after": job_id},
        idempotency_key=f"after-{job_id}",
    )


async def serve(port: int) -> None:
    """Take webhooks and post what follows until it is stopped; where either part breaks, both end."""
    async with AsyncClient(api_key=API_KEY, retries=1) as darkroom, asyncio.TaskGroup() as group:
        await darkroom.status()  # say at once where it is not there or does not take the key
        posting = group.create_task(post_next_jobs(darkroom))
        await uvicorn.Server(uvicorn.Config(app, port=port, access_log=False)).serve()
        posting.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Receive webhooks and post what follows.")
    parser.add_argument("--port", type=int, default=8787, help="where to listen on this machine")
    try:
        asyncio.run(serve(parser.parse_args().port))
    except* ConnectionFailed as group:
        sys.exit(f"{group.exceptions[0]}; does `make run` run?")
    except* DarkroomError as group:
        sys.exit(str(group.exceptions[0]))
    except* KeyboardInterrupt:
        pass
