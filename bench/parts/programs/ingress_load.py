"""Posts single jobs over so many connections, each the next when its answer is there, and tells every delay."""

import asyncio
import json
import time

import aiohttp

from bench.parts.programs.telling import task


async def main() -> None:
    """Post until the time is over, after a warm-up that does not count."""
    given = task()
    body = json.dumps(given["body"]).encode()
    headers = given["headers"] | {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=given["at_once"])
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def post(until: float) -> list[float]:
            delays_ms = []
            while (began := time.perf_counter()) < until:
                async with session.post(given["url"], data=body) as answer:
                    await answer.read()
                    if answer.status != 202:
                        raise SystemExit(f"POST answered {answer.status}: {await answer.text()}")
                delays_ms.append(round(1000 * (time.perf_counter() - began), 2))
            return delays_ms

        async def all_post(seconds: float) -> list[float]:
            until = time.perf_counter() + seconds
            found = await asyncio.gather(*(post(until) for _ in range(given["at_once"])))
            return [delay for delays in found for delay in delays]

        await all_post(given["warm_up_s"])
        began = time.perf_counter()
        delays_ms = await all_post(given["seconds"])
        print(json.dumps({"seconds": time.perf_counter() - began, "delays_ms": delays_ms}), flush=True)


asyncio.run(main())
