"""Looks through the service's own client, so many at once, each beginning the next when it has its answer."""

import asyncio
from itertools import cycle

from bench.parts.programs.telling import repeat, task
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.outcomes import Pending
from darkroom.upstream.session import make_session


async def main() -> None:
    """Look until the time is over."""
    given = task()
    async with make_session() as session:
        client = UpstreamClient(
            session=session, base_url=given["upstream_url"], api_key=given["key"], submit_timeout_s=60
        )
        ids = cycle(given["ids"])

        async def look() -> int:
            outcome = await client.look(next(ids))
            if not isinstance(outcome, Pending):
                raise SystemExit(f"a look found {type(outcome).__name__}")
            return 1

        await repeat(look, at_once=given["at_once"], seconds=given["seconds"], warm_up_s=given["warm_up_s"])


asyncio.run(main())
