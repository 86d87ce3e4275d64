"""Looks by plain httpx, so many at once, each beginning the next when it has its answer."""

import asyncio
from itertools import cycle

import httpx

from bench.parts.programs.telling import repeat, task


async def main() -> None:
    """Look until the time is over."""
    given = task()
    limits = httpx.Limits(max_connections=given["at_once"], max_keepalive_connections=given["at_once"])
    headers = {"Authorization": f"Bearer {given['key']}"}
    async with httpx.AsyncClient(base_url=given["upstream_url"], headers=headers, timeout=60, limits=limits) as client:
        ids = cycle(given["ids"])

        async def look() -> int:
            answer = await client.get(f"/api/v3/predictions/{next(ids)}/result")
            status = answer.raise_for_status().json()["data"]["status"]
            if status == "completed":
                raise SystemExit("a look found it completed")
            return 1

        await repeat(look, at_once=given["at_once"], seconds=given["seconds"], warm_up_s=given["warm_up_s"])


asyncio.run(main())
