"""How a batch looks from outside: the batch of the API, of `batch.json` and of the webhook."""

from math import ceil
from typing import Any

import orjson

from darkroom.ids import id_time_ms
from darkroom.jobs import TERMINAL_STATUSES, UNIT_PRICE_USD, JobStatus, usd
from darkroom.store.batches import BatchRecord
from darkroom.store.view import WEBHOOK_DEFAULTS, iso

MEASURED_AFTER = 0.05
"""From this share of ended jobs on the time left is told by how fast they went, before by the account's limits."""

GENERATION_S = 25
"""What the job that is sent last still takes, as upstream's own samples have it (`timings.inference`: 25.7 s)."""


def batch_view(
    record: BatchRecord, *, now_ms: int | None = None, images_per_minute: int = 0, base_url: str = ""
) -> dict[str, Any]:
    """Show a record as the batch of the contract.

    Args:
        record: the batch.
        now_ms: server time, for the time that is left; None leaves that out.
        images_per_minute: what the lanes that are open may send; 0 where none is.
        base_url: put before the links.
    """
    fields = record.fields
    counts = _counts(fields)
    webhook = record.webhook
    images = int(fields["images"])
    return {
        "id": record.batch_id,
        "object": "batch",
        "status": fields["status"],
        "total": int(fields["total"]),
        "counts": counts,
        "cost": {
            "currency": "USD",
            "unit_price": UNIT_PRICE_USD,
            "estimated": usd(images),
            "spent": usd(int(fields.get("spent_images", 0))),
            "images_requested": images,
            "images_delivered": int(fields.get("delivered_images", 0)),
        },
        "metadata": orjson.loads(fields["metadata"]),
        "webhook": None if webhook is None else WEBHOOK_DEFAULTS | webhook,
        "webhook_status": fields.get("webhook_status"),
        "held": record.held,
        "skipped": orjson.loads(fields["skipped"]) if "skipped" in fields else None,
        "estimated_seconds_left": None if now_ms is None else _seconds_left(fields, counts, now_ms, images_per_minute),
        "manifest": orjson.loads(fields["manifest"]) if "manifest" in fields else None,
        "created_at": iso(id_time_ms(record.batch_id)),
        "accepted_at": iso(fields.get("linked_ms")),
        "cancel_requested_at": iso(fields.get("canceled_ms")),
        "finished_at": iso(fields.get("finished_ms")),
        "links": _links(record.batch_id, base_url),
    }


def _counts(fields: dict[str, str]) -> dict[str, int]:
    return {status.value: int(fields.get(f"n:{status.value}", 0)) for status in JobStatus}


def _seconds_left(fields: dict[str, str], counts: dict[str, int], now_ms: int, images_per_minute: int) -> int | None:
    """Estimate how long the jobs that have not ended will take; None where nothing says so."""
    if fields["status"] != "running":
        return None
    total = int(fields["total"])
    ended = sum(counts[status.value] for status in TERMINAL_STATUSES)
    left = total - ended
    if ended >= max(1, MEASURED_AFTER * total):
        return ceil((now_ms - int(fields["linked_ms"])) / 1000 * left / ended)
    if not images_per_minute:
        return None
    return ceil(int(fields["images"]) * left / total * 60 / images_per_minute) + GENERATION_S


def _links(batch_id: str, base_url: str) -> dict[str, str]:
    here = f"{base_url}/v1/batches/{batch_id}"
    return {
        "self": here,
        "results": f"{here}/results",
        "cancel": f"{here}/cancel",
        "retry": f"{here}/retry",
        "deliveries": f"{here}/deliveries",
    }
