"""Prometheus: what this process measures, and the cell's state as Redis tells it at the scrape.

Labels are bounded: routes by their template, and the tenants with the longest lines by name.
"""

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from api.services import Services
from darkroom.line.budgets import Budgets
from darkroom.line.lanes import LaneState, PauseReason
from darkroom.line.progress import SILENCE_MS
from darkroom.store import keys
from darkroom.store.connection import UNAVAILABLE, read_hash, read_set
from darkroom.store.deliveries import HostState

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MOST_TENANTS = 50
LANE_STATES = ("open", "throttled", "paused")

DURATION = Histogram(
    "darkroom_http_request_duration_seconds",
    "Time from a request's first byte to its answer's last.",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
    registry=REGISTRY,
)


async def exposition(services: Services) -> bytes:
    """Write all metrics; while Redis is away those of this process, and that it is away."""
    families = list(_process(services))
    try:
        families += await _cell(services)
        families.append(_gauge("darkroom_store_up", "Whether Redis answers.", 1))
    except UNAVAILABLE:
        families.append(_gauge("darkroom_store_up", "Whether Redis answers.", 0))
    scraped = CollectorRegistry(auto_describe=False)
    scraped.register(_Families(families))
    return generate_latest(REGISTRY) + generate_latest(scraped)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _process(services: Services) -> Iterator[Metric]:
    yield _gauge("darkroom_watchers", "Requests that wait for a job to change.", services.watcher.count)
    wakes = CounterMetricFamily("darkroom_wakes", "Wake-up calls for dispatch.", labels=["result"])
    wakes.add_metric(["published"], services.waker.published)
    wakes.add_metric(["failed"], services.waker.failed)
    yield wakes


async def _cell(services: Services) -> list[Metric]:
    redis, lanes = services.redis, services.lanes
    seconds, microseconds = await redis.time()
    now_ms = seconds * 1000 + microseconds // 1000
    first = await redis.zrange(keys.DUE, 0, 0, withscores=True)
    lag_s = max(0.0, (now_ms - float(first[0][1])) / 1000) if first else 0.0
    workers = (await lanes.workers()).values()
    alive = sum(now_ms - int(sign["alive_at_ms"]) < SILENCE_MS for sign in workers)
    depth = await read_hash(redis, keys.DEPTH)
    return [
        *_line(await lanes.depth()),
        _gauge("darkroom_budget_held_tenants", "Tenants that wait for their budget.", len(await Budgets(redis).held())),
        _gauge("darkroom_unstored_images", "Paid images that are not in the bucket.", int(depth.get("*|unstored", 0))),
        *_lanes(await lanes.states()),
        _totals(await read_hash(redis, keys.TOTALS)),
        *_webhooks(await services.deliveries.hosts()),
        _gauge(
            "darkroom_deliveries_undelivered",
            "Webhooks that reached nobody and can be sent again.",
            await services.undelivered.count(await read_set(redis, keys.TENANTS)),
        ),
        _gauge("darkroom_oldest_due_seconds", "How long the oldest timer is overdue.", lag_s),
        _gauge("darkroom_workers_alive", "Workers that gave a sign of life in the last 30 s.", alive),
    ]


def _line(line: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("darkroom_line_depth", "Jobs that wait.", line["depth"])
    by_tenant = GaugeMetricFamily("darkroom_line_tenant_depth", "Jobs that wait, by tenant.", labels=["tenant"])
    longest = sorted(line["tenants"], key=lambda tenant: tenant["depth"], reverse=True)
    for tenant in longest[:MOST_TENANTS]:
        by_tenant.add_metric([tenant["tenant"]], tenant["depth"])
    if longest[MOST_TENANTS:]:
        by_tenant.add_metric(["(others)"], sum(tenant["depth"] for tenant in longest[MOST_TENANTS:]))
    yield by_tenant


def _lanes(lanes: list[LaneState]) -> Iterator[Metric]:
    state = GaugeMetricFamily("darkroom_lane_state", "1 for the state a lane is in.", labels=["lane", "state"])
    for lane in lanes:
        for name in LANE_STATES:
            state.add_metric([lane.name, name], int(lane.state == name))
    yield state
    paused = GaugeMetricFamily(
        "darkroom_lane_paused", "1 for the reason a lane is paused for.", labels=["lane", "reason"]
    )
    for lane in lanes:
        for reason in get_args(PauseReason):
            paused.add_metric([lane.name, reason], int(lane.reason == reason))
    yield paused
    numbers = {
        "images_per_minute": ("The lane's rate limit.", [lane.images_per_minute for lane in lanes]),
        "max_concurrency": ("The lane's concurrency limit.", [lane.max_concurrency for lane in lanes]),
        "in_flight": ("Attempts that upstream may be working on.", [lane.in_flight for lane in lanes]),
        "images_last_minute": ("Images that count against the rate.", [lane.images_last_minute for lane in lanes]),
    }
    for name, (text, values) in numbers.items():
        family = GaugeMetricFamily(f"darkroom_lane_{name}", text, labels=["lane"])
        for lane, value in zip(lanes, values, strict=True):
            family.add_metric([lane.name], value)
        yield family


def _webhooks(hosts: list[HostState]) -> Iterator[Metric]:
    failing = sum(host.breaker != "closed" and host.waiting + host.flying > 0 for host in hosts)
    text = "Receivers' hosts whose breaker is open while webhooks wait for them."
    yield _gauge("darkroom_webhook_hosts_failing", text, failing)
    waiting = sum(host.waiting for host in hosts)
    yield _gauge("darkroom_deliveries_waiting_for_host", "Webhooks that wait for their host to have room.", waiting)


def _totals(totals: dict[str, str]) -> Metric:
    family = CounterMetricFamily("darkroom_events", "What has happened in this cell so far, by kind.", labels=["kind"])
    for kind, count in sorted(totals.items()):
        family.add_metric([kind], int(count))
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
