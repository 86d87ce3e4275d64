"""The store with all its ports on one Redis, real or fake, and the short ways to a state that tests begin in."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from darkroom.jobs import JobError, JobRequest
from darkroom.line.budgets import Budgets
from darkroom.line.lanes import DEFAULT_LANE, LaneStore
from darkroom.line.line import Admission, Line
from darkroom.store import keys, scripts
from darkroom.store.attempts import Absence, AttemptStore, Intent, Moved, Ticket
from darkroom.store.batches import BatchStore
from darkroom.store.callbacks import CallbackStore, Called
from darkroom.store.connection import connect
from darkroom.store.deliveries import DeliveryStore
from darkroom.store.jobs import JobStore
from darkroom.store.records import JobRecord
from darkroom.store.uploads import Line as BatchLine
from darkroom.store.uploads import UploadStore
from darkroom.timers import Due, Timers
from darkroom.upstream.callback_tokens import SendName
from tests.support.cell import Cell

HOUR_MS = 3_600_000
HOOK = {"url": "https://example.com/hook"}
FAILED = JobError(code="upstream_failed", message="the model fell over", retryable=True)
UNSETTLED = JobError(code="submit_unconfirmed", message="nobody knows", retryable=False)


@dataclass
class Store:
    """Every port over one Redis. `client` is a second, blocking connection that looks behind the scripts."""

    redis: Redis
    client: BlockingRedis
    jobs: JobStore = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = JobStore(self.redis)
        self.attempts = AttemptStore(self.redis)
        self.line, self.lanes, self.budgets = Line(self.redis), LaneStore(self.redis), Budgets(self.redis)
        self.timers, self.deliveries = Timers(self.redis), DeliveryStore(self.redis)
        self.callbacks = CallbackStore(self.redis)
        self.uploads, self.batches = UploadStore(self.redis), BatchStore(self.redis)

    async def limits(self, rate: int = 600, concurrency: int = 100, *, rate_cost: str = "images") -> None:
        """Set the lane's limits."""
        await self.lanes.configure(
            DEFAULT_LANE, images_per_minute=rate, max_concurrency=concurrency, rate_cost=rate_cost
        )

    async def post(self, tenant: str = "a", **request: Any) -> str:
        """Enqueue a job and give its id."""
        body = orjson.dumps({"prompt": "a fox"} | request)
        return (await self.jobs.enqueue(tenant, JobRequest.model_validate_json(body))).job_id

    async def batch(self, *jobs: dict[str, Any], tenant: str = "a", link: bool = True, **upload: Any) -> str:
        """Upload a batch of jobs, list it, and give its id."""
        begun = await self.uploads.begin(
            tenant, **{"webhook": None, "metadata": {}, "idempotency_key": None, "max_queued": 1_000_000} | upload
        )
        lines = [
            BatchLine.of(number, JobRequest.model_validate_json(orjson.dumps({"prompt": "a fox"} | job)))
            for number, job in enumerate(jobs, 1)
        ]
        await self.uploads.stage(begun.batch_id, lines)
        if link:
            await self.uploads.link(begun.batch_id, fingerprint="f", max_queued=1_000_000)
            await self.batches.sweep(begun.batch_id, "list")
        return begun.batch_id

    async def admit(self, most: int = 64, *, max_unstored: int = 5_000) -> Admission:
        """Admit what may go."""
        return await self.line.admit(DEFAULT_LANE, most=most, lease_ms=HOUR_MS, max_unstored=max_unstored)

    async def admitted(self, tenant: str = "a", **request: Any) -> Ticket:
        """Post a job and admit it."""
        job_id = await self.post(tenant, **request)
        [ticket] = (await self.admit()).tickets
        assert ticket.job_id == job_id
        return ticket

    async def begin(self, ticket: Ticket, *, calls_back: bool = False) -> int:
        """Write the intent down and give the send's number."""
        return (await self.intend(ticket, calls_back=calls_back)).send

    async def intend(self, ticket: Ticket, *, calls_back: bool = True, mark: str = "") -> Intent:
        """Write the intent down."""
        intent = await self.attempts.begin_submit(
            ticket, lease_ms=HOUR_MS, sync_lease_ms=HOUR_MS, key="k", mark=mark, calls_back=calls_back
        )
        assert intent is not None
        return intent

    async def called_back(self, ticket: Ticket, prediction: str, *, send: int = 1) -> Called:
        """Have upstream call back about a send."""
        return await self.callbacks.take(SendName(ticket.job_id, ticket.attempt, send), prediction)

    async def submitting(self, tenant: str = "a", **request: Any) -> Ticket:
        """Post a job and let its submit be under way."""
        ticket = await self.admitted(tenant, **request)
        await self.begin(ticket)
        return ticket

    async def unconfirmed(self, tenant: str = "a", **request: Any) -> Ticket:
        """Post a job and lose the answer to its submit."""
        ticket = await self.submitting(tenant, **request)
        assert await self.attempts.unknown(ticket, look_in_ms=0, message="reset") is Moved.DONE
        return await self.ticket(ticket.job_id)

    async def accept(self, ticket: Ticket, prediction: str, *, send: int = 1, adopted: bool = False) -> Moved:
        """Have upstream name the prediction."""
        return await self.attempts.accepted(
            ticket, send=send, prediction_id=prediction, look_in_ms=2_000, adopted=adopted
        )

    async def generating(self, tenant: str = "a", **request: Any) -> Ticket:
        """Post a job and let upstream work on it, under a prediction named after the job."""
        ticket = await self.submitting(tenant, **request)
        assert await self.accept(ticket, f"p-{ticket.job_id}") is Moved.DONE
        return await self.ticket(ticket.job_id)

    async def absent(self, ticket: Ticket, listing: str = "listing", *, age_ms: int = 0) -> Absence | None:
        """Have a listing not hold the prediction of a lost send; it began `age_ms` ago."""
        seconds, microseconds = await self.redis.time()
        began_ms = seconds * 1000 + microseconds // 1000 - age_ms
        return await self.attempts.absent(ticket, look_in_ms=1_000, mark=listing, began_ms=began_ms)

    async def hand_over(self, ticket: Ticket) -> Ticket:
        """Have upstream complete the prediction."""
        handed = await self.attempts.hand_over(
            ticket, sources='[{"index":0}]', inference_ms=5_000, polls=3, wait_ms=HOUR_MS
        )
        assert handed is not None
        return handed

    async def storing(self, tenant: str = "a", **request: Any) -> Ticket:
        """Post a job and let its outputs wait to be stored."""
        return await self.hand_over(await self.generating(tenant, **request))

    async def complete(self, ticket: Ticket) -> Moved:
        """Store one output and say that this was all."""
        await self.attempts.save_output(ticket, 0, '{"index":0,"key":"k"}')
        return await self.attempts.complete(ticket, delivered=1, finished_ms=1_700_000_000_000)

    async def read(self, job_id: str) -> JobRecord:
        """Read a job that is there."""
        record = await self.jobs.read(job_id)
        assert record is not None
        return record

    async def status(self, job_id: str) -> str:
        """Give a job's status."""
        return (await self.read(job_id)).status

    async def spent(self, job_id: str) -> int:
        """Give the images counted as paid."""
        return int((await self.read(job_id)).job.get("spent_images", 0))

    async def ticket(self, job_id: str, attempt: int | None = None) -> Ticket:
        """Give a good ticket for an attempt, the current one unless said otherwise."""
        number = attempt or (await self.read(job_id)).attempt_number
        lease = self.client.hget(keys.attempt(job_id, number), "lease")
        return Ticket(job_id, number, int(str(lease or 0)))

    async def end_batch(self, batch: str) -> None:
        """Write down what became of an ended batch, and let its jobs' time begin."""
        claim = await self.batches.claim_manifest(batch, lease_ms=1_000)
        assert claim is not None
        assert await self.batches.tell(batch, claim[0], {"bucket": "b"})
        await self.batches.sweep(batch, "retire")

    async def sweep(self, *members: str, most: int = 100, compact_ms: int = 0) -> Due:
        """Let these timers (of the due set) go off and lease what is due."""
        if members:
            self.client.zadd(keys.DUE, dict.fromkeys(members, 1))
        return await self.timers.lease_due(
            most=most, look_ms=HOUR_MS, message_ms=HOUR_MS, check_ms=HOUR_MS, compact_ms=compact_ms
        )

    def cell(self) -> Cell:
        """Read everything there is."""
        return Cell.read(self.client)

    def used(self) -> int:
        """Give what counts against the lane's rate."""
        return int(str(self.client.hget(keys.lane(DEFAULT_LANE), "used") or 0))

    def pass_the_window(self) -> None:
        """Let a minute pass: what was sent and answered stops counting against the rate, and the spacing is over."""
        cell = self.cell()
        under_way = {item.record["send_ref"] for item in cell.attempts if item.state in ("admitted", "submitting")}
        for ref in set(cell.at(keys.sends(DEFAULT_LANE))) - under_way:
            self.client.zadd(keys.sends(DEFAULT_LANE), {ref: 1})
        self.client.hdel(keys.lane(DEFAULT_LANE), "spaced_ms", "not_before_ms")

    def usage(self, tenant: str = "a", *, days_ago: int = 0) -> dict[str, int]:
        """Give what was counted on a day."""
        today = int(self.client.time()[0]) // 86_400
        return {name: int(count) for name, count in self.cell().at(keys.usage(tenant, today - days_ago)).items()}

    def let_expire(self, job_id: str) -> None:
        """Do what the server does when a job's time is over."""
        cell = self.cell()
        names = [keys.job(job_id), *(keys.attempt(job_id, item.number) for item in cell.attempts)]
        ours = [name for name in names if name in cell.values]
        assert all(cell.ttl_ms[name] >= 0 for name in ours), "it is still alive"
        self.client.delete(*ours)

    async def trim(self, tenant: str = "a", *, rounds: int = 4) -> None:
        """Let the tenant's trimming timer go off as often as it has statuses to go through."""
        for _ in range(rounds):
            await self.sweep(*(f"t:{name}" for name in self.cell().due("t") if name.startswith(f"{tenant}:")))

    def events(self, job_id: str) -> list[str]:
        """Give the types of the events told of a job, oldest first."""
        told = sorted(self.cell().under("event:"))
        return [record["type"] for _, record in told if record["job"] == job_id]


@asynccontextmanager
async def real_store(url: str) -> AsyncIterator[Store]:
    """Open the store on a real server."""
    connection = connect(url)
    with BlockingRedis.from_url(url, decode_responses=True, encoding_errors="surrogateescape") as client:
        yield Store(connection, client)
    await connection.aclose()


@asynccontextmanager
async def fake_store(patch: Callable[[object, str, object], None]) -> AsyncIterator[Store]:
    """Open the store on fakeredis, which runs the scripts themselves but knows no flags' line (`#!lua …`)."""
    bare = {name: text.partition("\n")[2] for name, text in scripts.sources.__wrapped__().items()}
    shas = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in bare.items()}
    patch(scripts, "sources", lambda: bare)
    patch(scripts, "digests", lambda: shas)
    server = FakeServer(version=(8,), server_type="valkey")
    connection = FakeAsyncRedis(server=server, decode_responses=True, encoding_errors="surrogateescape")
    yield Store(connection, FakeRedis(server=server, decode_responses=True, encoding_errors="surrogateescape"))
    await connection.aclose()
