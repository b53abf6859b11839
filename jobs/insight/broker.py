"""What Redis holds, asked once and with little patience: nobody waits long for one that is away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import current_app

from jobs.engine.doorbell import BROKER_ERRORS

PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis says about itself."""

    version: str
    time: datetime
    eviction: str
    """What it does when it is full; empty where it does not say."""
    used: int = 0
    most: int = 0
    """Bytes of memory in use, and the limit; 0 for no limit."""


def impatient() -> Any:
    """Return a connection to the broker that gives up after two seconds. Use it as a context manager."""
    options = {**current_app.conf.broker_transport_options, "max_retries": 1, "interval_start": 0}
    options |= {"socket_connect_timeout": PATIENCE_SECONDS, "socket_timeout": PATIENCE_SECONDS}
    return current_app.connection_for_read(transport_options=options, connect_timeout=PATIENCE_SECONDS)


def look() -> Seen | None:
    """Return what Redis says about itself; None: no answer."""
    try:
        with impatient() as broker:
            client = broker.default_channel.client
            about = client.info()
            seconds, micros = client.time()
    except BROKER_ERRORS:
        return None
    return Seen(
        str(about.get("redis_version", "of an unknown version")),
        datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros),
        str(about.get("maxmemory_policy", "")),
        int(about.get("used_memory", 0)),
        int(about.get("maxmemory", 0)),
    )


def depths(queues: Sequence[str]) -> dict[str, int] | None:
    """Return how many messages Redis holds for each queue, all priorities together; None: no answer."""
    try:
        with impatient() as broker:
            channel = broker.default_channel
            keys = [
                (queue, channel._q_for_pri(queue, step))
                for queue in queues
                for step in channel.priority_steps
            ]
            with channel.client.pipeline(transaction=False) as pipe:
                for _, key in keys:
                    pipe.llen(key)
                lengths = pipe.execute(raise_on_error=False)
    except BROKER_ERRORS:
        return None
    total = dict.fromkeys(queues, 0)
    for (queue, _), length in zip(keys, lengths, strict=True):
        total[queue] += length if isinstance(length, int) else 0
    return total


def answers() -> bool:
    """Return whether the broker is there."""
    return depths([str(current_app.conf.task_default_queue)]) is not None
