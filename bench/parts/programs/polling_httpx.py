"""Looks by plain httpx, so many at once, each beginning the next when it has its answer."""

import asyncio
import time
from itertools import cycle

import httpx

from bench.parts.programs.telling import Taking, task


async def main() -> None:
    """Look until the time is over."""
    given = task()
    limits = httpx.Limits(max_connections=given["at_once"], max_keepalive_connections=given["at_once"])
    headers = {"Authorization": f"Bearer {given['key']}"}
    async with httpx.AsyncClient(base_url=given["upstream_url"], headers=headers, timeout=60, limits=limits) as client:
        ids = cycle(given["ids"])

        async def look(until: float) -> int:
            done = 0
            while time.monotonic() < until:
                answer = await client.get(f"/api/v3/predictions/{next(ids)}/result")
                status = answer.raise_for_status().json()["data"]["status"]
                if status == "completed":
                    raise SystemExit("a look found it completed")
                done += 1
            return done

        async def all_look(seconds: float) -> int:
            until = time.monotonic() + seconds
            return sum(await asyncio.gather(*(look(until) for _ in range(given["at_once"]))))

        await all_look(given["warm_up_s"])
        with Taking() as taking:
            done = await all_look(given["seconds"])
    taking.tell(done)


asyncio.run(main())
