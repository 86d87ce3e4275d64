"""The Celery messages: five task names, each with its queue, each carrying a schema version and a few tickets.

Whoever publishes and whoever consumes meet here and nowhere else, the broker's options included.

A message is only a wake-up call: lost or doubled, it does no harm, because the scripts decide.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from darkroom.store.attempts import Ticket
from darkroom.store.records import SCHEMA_VERSION
from darkroom.timers import DueDelivery

DISPATCH = "darkroom.dispatch"
SUBMIT = "darkroom.submit"
STORE = "darkroom.store"
NOTIFY = "darkroom.notify"
MANIFEST = "darkroom.manifest"

QUEUES = {DISPATCH: "dispatch", SUBMIT: "submit", STORE: "store", NOTIFY: "notify", MANIFEST: "store"}
CHUNK = 16
"""Most tickets a message carries."""


KEY_PREFIX = "darkroom-celery:"
"""Before every key of Celery's own on a Redis broker, so that they stay apart from the store's."""


class UnknownVersionError(ValueError):
    """A message of a schema that this release does not read; the due set sends its work again."""


def check_version(version: int) -> None:
    """Refuse a message that another schema wrote.

    Raises:
        UnknownVersionError: permanent for this worker.
    """
    if version != SCHEMA_VERSION:
        raise UnknownVersionError(f"message has schema {version}, this worker reads {SCHEMA_VERSION}")


def broker_options(broker_url: str) -> dict[str, Any]:
    """Give the transport options that publishers and consumers of a broker must agree on.

    On Redis what a worker has received is noted nowhere: the due set sends the work of a dead one again long before
    the broker would, and noting it took two transactions a message.
    """
    if broker_url.startswith("amqp"):
        return {}
    return {"global_keyprefix": KEY_PREFIX, "ack_emulation": False}


def pack_tickets(tickets: Iterable[Ticket]) -> list[Any]:
    """Give the task's arguments for tickets."""
    return [SCHEMA_VERSION, [ticket.to_message() for ticket in tickets]]


def unpack_tickets(raw: Sequence[Sequence[str | int]]) -> list[Ticket]:
    """Read the tickets of a message."""
    return [Ticket.from_message(item) for item in raw]


def pack_deliveries(deliveries: Iterable[DueDelivery]) -> list[Any]:
    """Give the task's arguments for deliveries."""
    return [SCHEMA_VERSION, [[item.delivery_id, item.lease] for item in deliveries]]


def unpack_deliveries(raw: Sequence[Sequence[str]]) -> list[DueDelivery]:
    """Read the deliveries of a message."""
    return [DueDelivery(delivery_id, lease) for delivery_id, lease in raw]
