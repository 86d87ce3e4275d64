"""Everything the stages of one worker process share, made once inside the reactor."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
from celery import Celery
from redis.asyncio import Redis

from darkroom.errors import ConfigurationError
from darkroom.line.budgets import Budgets
from darkroom.line.lanes import DEFAULT_LANE, LaneStore
from darkroom.line.line import Line
from darkroom.settings import Settings
from darkroom.storage.bucket import Bucket, bucket_session
from darkroom.store.attempts import AttemptStore, Ticket
from darkroom.store.batches import BatchStore
from darkroom.store.callbacks import CallbackStore
from darkroom.store.connection import connect
from darkroom.store.deliveries import DeliveryStore
from darkroom.store.jobs import JobStore
from darkroom.store.room import Room
from darkroom.store.scripts import Scripts
from darkroom.telemetry.logs import get_logger
from darkroom.timers import Timers
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.session import make_session
from darkroom.webhooks.policy import webhook_policy
from darkroom.webhooks.sender import webhook_session
from worker.callbacks import Callbacks
from worker.leases import Leases
from worker.outputs import OutputSession
from worker.publisher import Publisher

log = get_logger(__name__)
COPIES_AT_ONCE = 32
NOTIFIES_AT_ONCE = 512
STORES_AT_ONCE = 32
LOOKS_AT_ONCE = 256

SUBMITS_AT_ONCE = 224
"""Open POSTs of one process: with its looks they leave some of the session's 512 connections free."""


class ServerClock:
    """Redis' time, carried on by the local monotonic clock between readings."""

    def __init__(self) -> None:
        self._offset_ms = 0.0

    def set(self, now_ms: int) -> None:
        """Note what the server's clock says now."""
        self._offset_ms = now_ms - time.monotonic() * 1000

    async def read(self, redis: Redis) -> None:
        """Ask the server."""
        seconds, microseconds = await redis.time()
        self.set(seconds * 1000 + microseconds // 1000)

    def now_ms(self) -> int:
        """Give the server's time in Unix milliseconds."""
        return int(self._offset_ms + time.monotonic() * 1000)


@dataclass(slots=True)
class Context:
    """The ports of one worker process."""

    settings: Settings
    redis: Redis
    attempts: AttemptStore
    batches: BatchStore
    jobs: JobStore
    deliveries: DeliveryStore
    line: Line
    lanes: LaneStore
    timers: Timers
    upstream: UpstreamClient
    bucket: Bucket
    outputs: OutputSession
    webhook_session: aiohttp.ClientSession
    sessions: list[aiohttp.ClientSession]
    publisher: Publisher
    leases: Leases
    room: Room
    callbacks: Callbacks
    lane: str = DEFAULT_LANE
    clock: ServerClock = field(default_factory=ServerClock)
    copies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(COPIES_AT_ONCE))
    stores: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STORES_AT_ONCE))
    notifies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(NOTIFIES_AT_ONCE))
    wake_poller: Callable[[], None] = lambda: None
    waiting_stores: set[Ticket] = field(default_factory=set)
    submits: int = 0
    rng: random.Random = field(default_factory=random.Random)

    async def close(self) -> None:
        """Close every connection."""
        self.publisher.close()
        await self.outputs.close()
        for session in self.sessions:
            await session.close()
        await self.redis.aclose()


async def open_context(settings: Settings, app: Celery) -> Context:
    """Open a worker's connections and make its lane known.

    Raises:
        ConfigurationError: no upstream key.
    """
    key = settings.upstream.api_key
    if key is None:
        raise ConfigurationError(["WAVESPEED_API_KEY: set the account's key (or use `darkroom up` to simulate)"])
    redis = connect(settings.redis.redis_url)
    Scripts.shared(redis).acknowledge(settings.redis.replicas_ack)
    clock = ServerClock()
    await clock.read(redis)
    lanes = LaneStore(redis)
    await lanes.configure(
        DEFAULT_LANE,
        images_per_minute=settings.upstream.images_per_minute,
        max_concurrency=settings.upstream.max_concurrency,
        rate_cost=settings.upstream.rate_cost,
    )
    if await Budgets(redis).apply(settings.service.caps):
        log.warning("budgets.changed", images=settings.service.caps)
    upstream_session = make_session()
    storage_session = bucket_session(connections=2 * COPIES_AT_ONCE)
    webhooks = webhook_session(webhook_policy(settings.webhooks), connections=NOTIFIES_AT_ONCE)
    timers = Timers(redis)
    return Context(
        settings=settings,
        redis=redis,
        attempts=AttemptStore(redis),
        batches=BatchStore(redis),
        jobs=JobStore(redis),
        deliveries=DeliveryStore(redis),
        line=Line(redis),
        lanes=lanes,
        timers=timers,
        upstream=UpstreamClient(
            session=upstream_session,
            base_url=settings.upstream.base_url,
            api_key=key.get_secret_value(),
            submit_timeout_s=settings.upstream.submit_timeout_s,
        ),
        bucket=Bucket(settings.storage, session=storage_session),
        outputs=OutputSession(settings.upstream.base_url, connections=COPIES_AT_ONCE),
        webhook_session=webhooks,
        sessions=[upstream_session, storage_session, webhooks],
        publisher=Publisher(app),
        leases=Leases(timers),
        room=Room(redis),
        callbacks=Callbacks(settings, CallbackStore(redis)),
        clock=clock,
    )
