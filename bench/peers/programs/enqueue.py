"""`python enqueue.py PEER FIRST COUNT`: enqueue so many jobs as the peer's documentation says."""

import asyncio
import sys


def main(peer: str, first: int, count: int) -> None:
    """Enqueue jobs named after their numbers."""
    jobs = [(f"job_{number}", f"bench panel {number}") for number in range(first, first + count)]
    if peer.startswith("celery"):
        from with_celery import generate, generate_by_retries

        task = generate_by_retries if peer == "celery-retry" else generate
        for job_id, prompt in jobs:
            task.delay(job_id, prompt)
    elif peer == "saq":
        asyncio.run(_enqueue_saq(jobs))
    elif peer == "taskiq":
        asyncio.run(_enqueue_taskiq(jobs))
    else:
        raise SystemExit(f"no such peer: {peer}")


async def _enqueue_saq(jobs: list[tuple[str, str]]) -> None:
    from with_saq import queue

    await queue.connect()
    for job_id, prompt in jobs:
        await queue.enqueue("generate", job_id=job_id, prompt=prompt, timeout=0, retries=3)
    await queue.disconnect()


async def _enqueue_taskiq(jobs: list[tuple[str, str]]) -> None:
    from with_taskiq import broker, generate

    await broker.startup()
    for job_id, prompt in jobs:
        await generate.kiq(job_id, prompt)
    await broker.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
