"""The job as a task of saq."""

from typing import Any

import shared
from on_asyncio import generate as _generate
from on_asyncio import open_clients
from saq import Queue

queue = Queue.from_url(shared.BROKER_URL)


async def generate(ctx: dict[str, Any], *, job_id: str, prompt: str) -> None:
    """Do one job."""
    await _generate(ctx["clients"], job_id, prompt)


async def startup(ctx: dict[str, Any]) -> None:
    """Open what all jobs of the worker share."""
    ctx["clients"] = await open_clients()


async def shutdown(ctx: dict[str, Any]) -> None:
    """Close it."""
    await ctx["clients"].stack.aclose()


settings = {
    "queue": queue,
    "functions": [generate],
    "concurrency": shared.AT_ONCE,
    "startup": startup,
    "shutdown": shutdown,
}
