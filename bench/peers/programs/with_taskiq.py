"""The job as a task of taskiq on a Redis stream, acknowledged when it is done."""

import shared
from on_asyncio import generate as _generate
from on_asyncio import open_clients
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(shared.BROKER_URL)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    """Open what all jobs of the worker share."""
    state.clients = await open_clients()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    """Close it."""
    await state.clients.stack.aclose()


@broker.task
async def generate(job_id: str, prompt: str, context: Context = TaskiqDepends()) -> None:  # noqa: B008
    """Do one job."""
    await _generate(context.state.clients, job_id, prompt)
