"""The Redis transport of a worker, with a guard before Celery's own reading of messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, Transport

from jobs.engine import quarantining
from jobs.rules.messages import MessageProblem, check
from jobs.runtime.connections import short_connection


class GuardedChannel(Channel):  # type: ignore[misc]
    """A channel that never hands a malformed item to the worker."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous=asynchronous)  # type: ignore[no-untyped-call]
        client.parse_response = _guarded(client.parse_response, self.sep)
        return client


def _guarded(parse_response: Callable[..., Any], separator: str) -> Callable[..., Any]:
    """Return `parse_response` with malformed items of BRPOP taken out: then there was none."""

    def parse(connection: Any, command_name: str, **options: Any) -> Any:
        response = parse_response(connection, command_name, **options)
        if command_name != "BRPOP" or not response:
            return response
        key, item = response
        try:
            check(item if isinstance(item, bytes) else str(item).encode())
        except MessageProblem as problem:
            name = key.decode() if isinstance(key, bytes) else str(key)
            with short_connection():
                quarantining.quarantine(bytes(item), name.rsplit(separator, 1)[0], str(problem))
            return None
        return response

    return parse


class GuardedTransport(Transport):  # type: ignore[misc]
    """Celery's Redis transport over guarded channels."""

    Channel = GuardedChannel


def guard() -> None:
    """Let every Redis connection that this process makes from now on be guarded."""
    for name in ("redis", "rediss"):
        TRANSPORT_ALIASES[name] = "jobs.runtime.transport:GuardedTransport"
