"""The composition root of the ingress: settings in, one ASGI application out.

`uvicorn --factory api.app:create_app` runs it; a wrong setting raises `ConfigurationError` before anything listens.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.middleware import Middleware
from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

from api import errors, openapi
from api.auth import Authentication, Keyring
from api.envelope import Envelope
from api.readiness import Readiness
from api.routes import (
    batches,
    callbacks,
    deliveries,
    events,
    health,
    jobs,
    lanes,
    outputs,
    resolve,
    status,
    usage,
    webhooks,
)
from api.services import Services
from api.shutdown import on_stop_signal
from api.wake import Waker
from api.watcher import Watcher
from darkroom.background import run_for_good
from darkroom.line.budgets import Budgets
from darkroom.settings import Settings, load_settings
from darkroom.storage.bucket import Bucket, bucket_session
from darkroom.storage.signer import Signer
from darkroom.store.connection import connect
from darkroom.store.durability import judge_store
from darkroom.store.room import Room
from darkroom.store.scripts import Scripts
from darkroom.telemetry.logs import configure_logging, get_logger
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.session import make_session

BUDGET_RETRY_S = 1.0
log = get_logger(__name__)
ROUTERS = (jobs, batches, resolve, events, deliveries, webhooks, outputs, usage, lanes, status, callbacks, health)
UPSTREAM_CONNECTIONS = 8


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application; without `settings` they are read from the environment, and logging is set up.

    Raises:
        ConfigurationError: no key although keys are required, no credentials for the bucket, an unusable Redis.
    """
    if settings is None:
        settings = load_settings()
        configure_logging(settings.service.log_format)
    keyring = Keyring(settings.service)
    Signer(settings.storage)
    judge_store(settings.redis.redis_url)
    app = FastAPIOffline(
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # asked for with every request otherwise
        title="Darkroom",
        version=version("darkroom-queue"),
        description=openapi.DESCRIPTION,
        lifespan=_lifespan(settings),
        middleware=[Middleware(Envelope), Middleware(Authentication, keyring=keyring)],
        redirect_slashes=False,
        separate_input_output_schemas=False,
        swagger_ui_parameters={"validatorUrl": None},
    )
    for resource in ROUTERS:
        app.include_router(resource.router)
    errors.install(app)
    app.openapi_schema = openapi.build(app)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            redis = connect(settings.redis.redis_url)
            stack.push_async_callback(redis.aclose)
            Scripts.shared(redis).acknowledge(settings.redis.replicas_ack)
            bucket = Bucket(settings.storage, session=await stack.enter_async_context(bucket_session()))
            room = Room(redis)
            stack.push_async_callback(_end, asyncio.create_task(run_for_good("room", room.run)))
            waker = Waker(settings.redis.broker_url)
            stack.push_async_callback(waker.close)
            watcher = Watcher(redis)
            listening = asyncio.create_task(run_for_good("watcher", watcher.run))
            stack.push_async_callback(_end, listening)
            applying = asyncio.create_task(_apply_budgets(redis, settings.service.caps))
            stack.push_async_callback(_end, applying)
            stack.enter_context(on_stop_signal(watcher.let_go))
            app.state.services = Services(
                settings=settings,
                redis=redis,
                bucket=bucket,
                watcher=watcher,
                waker=waker,
                readiness=Readiness(redis, bucket, replicas_ack=settings.redis.replicas_ack),
                room=room,
                upstream=await _upstream(settings, stack),
            )
            yield
            watcher.let_go()

    return lifespan


async def _apply_budgets(redis: Redis, caps: dict[str, int]) -> None:
    """Make the budgets known, as soon as Redis is there; until then nothing can be accepted either."""
    async for attempt in AsyncRetrying(retry=retry_if_exception_type(RedisError), wait=wait_fixed(BUDGET_RETRY_S)):
        with attempt:
            changed = await Budgets(redis).apply(caps)
    if changed:
        log.warning("budgets.changed", images=caps)


async def _upstream(settings: Settings, stack: AsyncExitStack) -> UpstreamClient | None:
    """Open what operators' calls look at predictions with; None where the ingress has no key."""
    key = settings.upstream.api_key
    if key is None:
        return None
    return UpstreamClient(
        session=await stack.enter_async_context(make_session(max_connections=UPSTREAM_CONNECTIONS)),
        base_url=settings.upstream.base_url,
        api_key=key.get_secret_value(),
        submit_timeout_s=settings.upstream.submit_timeout_s,
    )


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
