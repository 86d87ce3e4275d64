"""Everything the routes use, made once a process by the composition root."""

from dataclasses import dataclass, field

from fastapi import Request
from redis.asyncio import Redis

from api.callbacks import Callbacks
from api.readiness import Readiness
from api.wake import Waker
from api.watcher import Watcher
from darkroom.line.lanes import LaneStore
from darkroom.network import AddressPolicy
from darkroom.settings import Settings
from darkroom.storage.bucket import Bucket
from darkroom.store.batches import BatchStore
from darkroom.store.callbacks import CallbackStore
from darkroom.store.deliveries import DeliveryStore
from darkroom.store.jobs import JobStore
from darkroom.store.room import Room, StoreFullError
from darkroom.store.undelivered import UndeliveredStore
from darkroom.store.uploads import UploadStore
from darkroom.store.webhook_secrets import WebhookSecrets
from darkroom.upstream.client import UpstreamClient
from darkroom.webhooks.policy import webhook_policy

SIMULATED_KEY = "simulated"
"""The upstream key that the embedded stack gives when it simulates WaveSpeed."""


@dataclass(slots=True)
class Services:
    """The ports of one ingress process."""

    settings: Settings
    redis: Redis
    bucket: Bucket
    watcher: Watcher
    waker: Waker
    readiness: Readiness
    room: Room
    upstream: UpstreamClient | None = None
    jobs: JobStore = field(init=False)
    uploads: UploadStore = field(init=False)
    batches: BatchStore = field(init=False)
    deliveries: DeliveryStore = field(init=False)
    undelivered: UndeliveredStore = field(init=False)
    webhook_secrets: WebhookSecrets = field(init=False)
    lanes: LaneStore = field(init=False)
    webhook_policy: AddressPolicy = field(init=False)
    callbacks: Callbacks = field(init=False)

    def __post_init__(self) -> None:
        """Make the typed calls over the one connection pool."""
        self.jobs = JobStore(self.redis, job_ttl_s=self.settings.redis.job_ttl_s)
        self.uploads = UploadStore(self.redis, job_ttl_s=self.settings.redis.job_ttl_s)
        self.batches = BatchStore(self.redis)
        self.deliveries = DeliveryStore(self.redis)
        self.undelivered = UndeliveredStore(self.redis)
        self.webhook_secrets = WebhookSecrets(self.redis)
        self.lanes = LaneStore(self.redis)
        self.webhook_policy = webhook_policy(self.settings.webhooks)
        self.callbacks = Callbacks(CallbackStore(self.redis), self.upstream)

    def require_room(self) -> None:
        """Let nothing new in where what is under way needs the rest of the memory.

        Raises:
            StoreFullError: retryable.
        """
        if self.room.full:
            raise StoreFullError("the store is nearly full")

    @property
    def base_url(self) -> str:
        """Put before links; empty where nobody has said how the outside reaches the API."""
        return self.settings.service.public_url or ""

    @property
    def simulated(self) -> bool:
        """Whether the upstream is the simulated one."""
        key = self.settings.upstream.api_key
        return key is not None and key.get_secret_value() == SIMULATED_KEY


def services_of(request: Request) -> Services:
    """Give the process' services."""
    services: Services = request.app.state.services
    return services
