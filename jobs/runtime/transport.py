"""The Redis transport of a worker: a guard before Celery's own reading, several messages at once, no `unacked`."""

from __future__ import annotations

import logging
from functools import cached_property
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, Transport
from kombu.transport.virtual import QoS
from redis.exceptions import ResponseError

from jobs.conf import conf
from jobs.engine import quarantining
from jobs.rules import messages
from jobs.rules.messages import MessageProblem
from jobs.runtime import intake
from jobs.runtime.connections import short_connection

logger = logging.getLogger(__name__)

AT_ONCE_SECONDS = 0.002
"""An answer that took longer was a message to an empty queue: there are no others to ask for."""


class HintQoS(QoS):  # type: ignore[misc]
    """Delivery without a second book in Redis: a message that is lost is sent again because its row waits.

    Celery's own copies each message to `unacked` before it may be read and takes it out again: two round trips
    a job, and a Redis that is full could not be emptied.
    """

    restore_at_shutdown = False

    def can_consume(self) -> bool:
        """Whether the worker has room for another message."""
        taking = intake.current()
        return taking is None or taking.room() > 0

    def append(self, message: Any, delivery_tag: str) -> None:
        """Nothing is noted."""

    def ack(self, delivery_tag: str) -> None:
        """Nothing was noted."""

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """The row decides whether the job runs again."""

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """There is nothing to restore."""

    def restore_unacked(self, *args: Any, **kwargs: Any) -> None:
        """There is nothing to restore."""

    def restore_unacked_once(self, *args: Any, **kwargs: Any) -> None:
        """There is nothing to restore."""


class GuardedChannel(Channel):  # type: ignore[misc]
    """A channel that never hands a malformed item to the worker, and takes as many as there is room for.

    It also takes from a Redis that is full.
    """

    QoS = HintQoS  # type: ignore[assignment]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Write down for other programs where `exchange` leads to: who takes jobs can do without.

        A worker that could not start for that would never empty the lists that fill Redis.
        """
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[no-untyped-call]
        except ResponseError as exc:
            _tolerate_full(exc)

    def maybe_refresh_binding_expiry(self) -> None:
        """As above, for bindings that expire."""
        try:
            super().maybe_refresh_binding_expiry()  # type: ignore[no-untyped-call]
        except ResponseError as exc:
            self._binding_expiry_refreshed_at = monotonic()  # not again in a second
            _tolerate_full(exc)

    def _size(self, queue: str) -> int:
        """Count the messages, not in a transaction: a Redis that is full refuses even to count in one."""
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for step in self.priority_steps:
                pipe.llen(self._q_for_pri(queue, step))  # type: ignore[no-untyped-call]
            return sum(pipe.execute())

    def _brpop_read(self, **options: Any) -> bool:
        try:
            try:
                response = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not response:
                raise Empty
            key, item = response
            self._take(key, item)
            if self._brpop_sent_at and monotonic() - self._brpop_sent_at < AT_ONCE_SECONDS:
                self._take_more(key)
            return True
        finally:
            self._in_poll = None  # type: ignore[assignment]
            self._flush_brpop_reauth()  # type: ignore[no-untyped-call]

    def _take_more(self, key: bytes) -> None:
        """The answer was for one message; there may be others, and room for them."""
        taking = intake.current()
        room = taking.room() if taking is not None else 0
        if room <= 0:
            return
        for item in self._asking.rpop(key, room) or ():
            self._take(key, item)

    @cached_property
    def _asking(self) -> Any:
        """A client for questions beside BRPOP: to make one takes longer than to ask."""
        return self._create_client()  # type: ignore[no-untyped-call]

    def _take(self, key: bytes | str, item: bytes) -> None:
        name = key.decode() if isinstance(key, bytes) else key
        queue = name.rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        try:
            envelope = messages.check(item, most=conf().max_payload_bytes)
        except MessageProblem as problem:
            with short_connection():
                quarantining.quarantine(bytes(item), queue, str(problem))
            return
        taking = intake.current()
        if taking is not None and taking.takes(envelope["headers"]):
            taking.take(envelope["headers"], queue, envelope["properties"])
        else:
            self.connection._deliver(envelope, queue)


def _tolerate_full(exc: ResponseError) -> None:
    if "maxmemory" not in str(exc):  # a script does not say it by its class
        raise exc
    logger.warning("Redis is full: a binding is not written")


class GuardedTransport(Transport):  # type: ignore[misc]
    """Celery's Redis transport over guarded channels."""

    Channel = GuardedChannel


def guard() -> None:
    """Let every Redis connection that this process makes from now on be guarded."""
    for name in ("redis", "rediss"):
        TRANSPORT_ALIASES[name] = "jobs.runtime.transport:GuardedTransport"
