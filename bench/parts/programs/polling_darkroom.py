"""Looks through the service's own client, so many at once, each beginning the next when it has its answer."""

import asyncio
import time
from itertools import cycle

from bench.parts.programs.telling import Taking, task
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

        async def look(until: float) -> int:
            done = 0
            while time.monotonic() < until:
                outcome = await client.look(next(ids))
                if not isinstance(outcome, Pending):
                    raise SystemExit(f"a look found {type(outcome).__name__}")
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
