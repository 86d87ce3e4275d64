"""Celery's Redis transport, made to outlive its broker.

kombu 5.7 ends the whole worker with an `AttributeError` when a message that was received before the broker died is
acknowledged on, or put back through, the channel that was closed meanwhile. Messages here are wake-up calls that the
due set makes good, so both may simply be left.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis


class _Forgiving:
    """Leaves messages of a closed channel alone."""

    do_restore = False
    closed: bool
    connection: Any

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge, unless the connection that brought the message is gone."""
        if not self.closed and self.connection is not None:
            super().basic_ack(delivery_tag, multiple=multiple)  # type: ignore[misc]

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject, unless the connection that brought the message is gone."""
        if not self.closed and self.connection is not None:
            super().basic_reject(delivery_tag, requeue=requeue)  # type: ignore[misc]


class _Channel(_Forgiving, redis.Channel):
    """Over one Redis."""


class _SentinelChannel(_Forgiving, redis.SentinelChannel):
    """Over Sentinel."""


class ForgivingTransport(redis.Transport):
    """`redis://` and `rediss://`."""

    Channel = _Channel


class ForgivingSentinelTransport(redis.SentinelTransport):
    """`sentinel://`."""

    Channel = _SentinelChannel


def use_forgiving_transports() -> None:
    """Let every Redis broker URL of this process mean these transports."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{ForgivingTransport.__name__}"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{ForgivingSentinelTransport.__name__}"
