"""Celery's Redis transport, made to outlive its broker and to go on while that is full.

kombu 5.7 ends the whole worker with an `AttributeError` when a message that was received before the broker died is
acknowledged on, or put back through, the channel that was closed meanwhile. Messages here are wake-up calls that the
due set makes good, so both may simply be left.

A store at its memory limit refuses Celery's pushes. What is called for there has been paid already and makes room, so a
message goes on beyond the limit, as the moves do.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.utils.json import dumps
from redis.exceptions import OutOfMemoryError

_PUSH = "#!lua flags=allow-oom\nreturn redis.call('LPUSH', KEYS[1], ARGV[1])"
_BIND = """#!lua flags=allow-oom
for _, key in ipairs(KEYS) do redis.call('SADD', key, ARGV[1]) end"""


class _Forgiving:
    """Leaves messages of a closed channel alone, and takes messages although the store is full."""

    do_restore = False
    closed: bool
    connection: Any
    pool: Any
    _kept_client: Any = None

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge, unless the connection that brought the message is gone."""
        if not self.closed and self.connection is not None:
            super().basic_ack(delivery_tag, multiple=multiple)  # type: ignore[misc]

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject, unless the connection that brought the message is gone."""
        if not self.closed and self.connection is not None:
            super().basic_reject(delivery_tag, requeue=requeue)  # type: ignore[misc]

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Keep one client for as long as its pool is used: kombu makes one for each command, which costs as much."""
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = super()._create_client()  # type: ignore[misc]
        return self._kept_client

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        try:
            super()._put(queue, message, **kwargs)  # type: ignore[misc]
        except OutOfMemoryError:
            channel: Any = self
            key = channel._q_for_pri(queue, channel._get_message_priority(message, reverse=False))
            with channel.conn_or_acquire() as client:
                client.eval(_PUSH, 1, channel.global_keyprefix + key, dumps(message))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]
        except OutOfMemoryError:
            channel: Any = self
            member = channel.sep.join([routing_key or "", pattern or "", queue or ""])
            tables = (channel.keyprefix_queue % (exchange,), channel.keyprefix_binding_permanent % (exchange,))
            with channel.conn_or_acquire() as client:
                client.eval(_BIND, 2, *(channel.global_keyprefix + table for table in tables), member)


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
