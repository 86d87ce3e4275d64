"""Asks for pages of a hundred predictions through the service's own client, so many pages at once."""

import asyncio
import time
from itertools import cycle

from bench.parts.programs.telling import Taking, task
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.session import make_session

PAGE_SIZE = 100
PAGES_AT_ONCE = 8
"""More would only wait for the simulator."""


async def main() -> None:
    """Ask until the time is over; every prediction in an answer counts as one look."""
    given = task()
    async with make_session() as session:
        client = UpstreamClient(
            session=session, base_url=given["upstream_url"], api_key=given["key"], submit_timeout_s=60
        )
        pages = cycle(range(1, len(given["ids"]) // PAGE_SIZE + 1))

        async def ask(until: float) -> int:
            done = 0
            while time.monotonic() < until:
                page = await client.list_predictions(page=next(pages), page_size=PAGE_SIZE)
                if len(page.items) != PAGE_SIZE:
                    raise SystemExit(f"a page held {len(page.items)} predictions")
                done += PAGE_SIZE
            return done

        async def all_ask(seconds: float) -> int:
            until = time.monotonic() + seconds
            return sum(await asyncio.gather(*(ask(until) for _ in range(PAGES_AT_ONCE))))

        await all_ask(given["warm_up_s"])
        with Taking() as taking:
            done = await all_ask(given["seconds"])
    taking.tell(done)


asyncio.run(main())
