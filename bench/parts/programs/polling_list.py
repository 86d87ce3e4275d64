"""Asks for pages of a hundred predictions through the service's own client, so many pages at once."""

import asyncio
from itertools import cycle

from bench.parts.programs.telling import repeat, task
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

        async def ask() -> int:
            page = await client.list_predictions(page=next(pages), page_size=PAGE_SIZE)
            if len(page.items) != PAGE_SIZE:
                raise SystemExit(f"a page held {len(page.items)} predictions")
            return PAGE_SIZE

        await repeat(ask, at_once=PAGES_AT_ONCE, seconds=given["seconds"], warm_up_s=given["warm_up_s"])


asyncio.run(main())
