"""What a job takes in Valkey once it is over, as it ends and compacted, and for how many days a store has room."""

import asyncio
import random
import secrets
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from bench.figures import BenchError, Figure, Outcome, figure
from bench.waiting import wait_for
from darkroom.jobs import JobRequest, Webhook
from darkroom.line.lanes import DEFAULT_LANE, LaneStore
from darkroom.line.line import Line
from darkroom.settings.upstream import TIER_LIMITS
from darkroom.store import keys
from darkroom.store.attempts import AttemptStore, Ticket
from darkroom.store.compaction import compact
from darkroom.store.connection import connect
from darkroom.store.deliveries import DeliveryStore
from darkroom.store.jobs import JobStore
from deploy.embedded.valkey import embedded_valkey

LIMIT = 100_000_000
LEASE_MS = 3_600_000
AT_ONCE = 64
FREED_S = 30.0
DAY_S = 86_400
ROOM_BYTES = 8 * 1024**3 * 0.8
"""What 8 GB hold before nothing more is accepted."""

COMPACTED_AFTER = (("a day", 1.0), ("an hour", 1 / 24))
SIZE = "a completed job in Valkey"
TEXT = "a the of in and red blue wide close hero panel street light morning brand bottle rain fox looks at"


@dataclass(frozen=True, slots=True)
class Ends:
    """How many jobs end before what a job takes is counted, so that all scripts are loaded, and over how many it is."""

    before: int = 100
    counted: int = 30_000
    prompt_characters: int = 200


@dataclass(frozen=True, slots=True)
class _Store:
    redis: Redis
    client: BlockingRedis
    rng: random.Random

    def used_bytes(self) -> int:
        """Count what is held beside the sends of the last minute, which stop counting soon."""
        self.client.delete(keys.sends(DEFAULT_LANE))
        wait_for(self._all_freed, FREED_S, what="Valkey to free what was deleted")
        return int(self.client.info("memory")["used_memory"])

    def _all_freed(self) -> bool:
        return int(self.client.info("memory")["lazyfree_pending_objects"]) == 0


def run(ends: Ends) -> Outcome:
    """Let jobs end on a store of their own, with and without a webhook, whole and compacted."""
    figures: list[Figure] = []
    for hooked in (False, True):
        told = "a webhook delivered" if hooked else "no webhook"
        whole, compacted = (measure(ends, hooked=hooked, compacted=compacted) for compacted in (False, True))
        figures.append(figure(f"as it ended, {told}", SIZE, "bytes", round(whole)))
        figures.append(figure(f"compacted, {told}", SIZE, "bytes", round(compacted)))
        figures += _room(told, whole, compacted)
    return Outcome("retention", asdict(ends), figures)


def measure(ends: Ends, *, hooked: bool, compacted: bool) -> float:
    """Give the bytes that a completed job takes in Valkey."""
    return asyncio.run(_measure(ends, hooked=hooked, compacted=compacted))


def _room(told: str, whole: float, compacted: float) -> list[Figure]:
    figures = []
    for name, (images, _) in TIER_LIMITS.items():
        a_day = images * 60 * 24
        for after, days in COMPACTED_AFTER:
            figures.append(
                figure(
                    f"8 GB, {told}",
                    f"days, {name} without a pause, compacted after {after}",
                    "",
                    round(_days(whole, compacted, a_day, days), 1),
                )
            )
    return figures


def _days(whole: float, compacted: float, a_day: int, after_days: float) -> float:
    """Give the days after which the room is full, those of the last `after_days` being kept whole (sizes in bytes)."""
    if whole * a_day * after_days >= ROOM_BYTES:
        return ROOM_BYTES / whole / a_day
    return after_days + (ROOM_BYTES - whole * a_day * after_days) / compacted / a_day


async def _measure(ends: Ends, *, hooked: bool, compacted: bool) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        embedded_valkey(Path(scratch)) as valkey,
        BlockingRedis.from_url(valkey.url) as client,
    ):
        client.config_set("appendonly", "no")
        connection = connect(valkey.url)
        store = _Store(connection, client, random.Random(1))
        await LaneStore(connection).configure(
            DEFAULT_LANE, images_per_minute=LIMIT, max_concurrency=LIMIT, rate_cost="images"
        )
        await _end(store, ends.before, ends, hooked=hooked, compacted=compacted)
        before = store.used_bytes()
        await _end(store, ends.counted, ends, hooked=hooked, compacted=compacted)
        size = (store.used_bytes() - before) / ends.counted
        await connection.aclose()
    return size


async def _end(store: _Store, jobs: int, ends: Ends, *, hooked: bool, compacted: bool) -> None:
    for first in range(0, jobs, AT_ONCE):
        count = min(AT_ONCE, jobs - first)
        await asyncio.gather(*(_post(store, ends, hooked=hooked) for _ in range(count)))
        tickets: list[Ticket] = []
        while len(tickets) < count:
            admitted = await Line(store.redis).admit(DEFAULT_LANE, most=AT_ONCE, lease_ms=LEASE_MS, max_unstored=LIMIT)
            tickets += admitted.tickets
        await asyncio.gather(*(_complete(store, ticket, hooked=hooked) for ticket in tickets))
        ids = [ticket.job_id for ticket in tickets]
        if compacted and await compact(JobStore(store.redis), ids) != count:
            raise BenchError("a job was not compacted")


async def _post(store: _Store, ends: Ends, *, hooked: bool) -> None:
    words, prompt = TEXT.split(), ""
    while len(prompt) < ends.prompt_characters:
        prompt += store.rng.choice(words) + " "
    webhook = Webhook(url="https://shop.example.com/hooks/darkroom") if hooked else None
    await JobStore(store.redis).enqueue(
        "tenant-0001", JobRequest(prompt=prompt[: ends.prompt_characters], webhook=webhook)
    )


async def _complete(store: _Store, ticket: Ticket, *, hooked: bool) -> None:
    """Take an admitted job through every move to its end, with what a real one of one image writes."""
    attempts = AttemptStore(store.redis)
    await attempts.begin_submit(
        ticket, lease_ms=LEASE_MS, sync_lease_ms=LEASE_MS, key=secrets.token_hex(4), mark=secrets.token_hex(8)
    )
    await attempts.accepted(ticket, send=1, prediction_id=secrets.token_hex(16), look_in_ms=2_000)
    generating = Ticket(ticket.job_id, ticket.attempt, ticket.lease + 1)
    handed = await attempts.hand_over(
        generating, sources='[{"index":0}]', inference_ms=store.rng.randrange(30_000, 60_000), polls=6, wait_ms=LEASE_MS
    )
    if handed is None:
        raise BenchError("the hand-over was stale")
    claim = await attempts.claim_store(handed, lease_ms=LEASE_MS)
    if claim is None:
        raise BenchError("the claim was stale")
    output = {
        "index": 0,
        "bucket": "darkroom",
        "key": f"2026/11/27/{ticket.job_id}/00.png",
        "content_type": "image/png",
        "bytes": store.rng.randrange(1_000_000, 9_000_000),
        "sha256": secrets.token_hex(32),
        "width": 2048,
        "height": 2048,
        "nsfw": False,
    }
    await attempts.save_output(claim.ticket, 0, orjson.dumps(output).decode())
    await attempts.complete(claim.ticket, delivered=1, finished_ms=claim.now_ms)
    if hooked:
        await _deliver(store, ticket.job_id, claim.now_ms)


async def _deliver(store: _Store, job_id: str, now_ms: int) -> None:
    deliveries = DeliveryStore(store.redis)
    delivery_id = str(await store.redis.hget(keys.job(job_id), "deliveries"))
    claimed = await deliveries.claim(delivery_id, "0", lease_ms=LEASE_MS)
    if claimed is None:
        raise BenchError("the delivery was stale")
    attempt = {"at_ms": now_ms, "status_code": 204, "duration_ms": 12, "error": None}
    await deliveries.settle(claimed, "delivered", next_in_ms=None, attempts=[attempt])
