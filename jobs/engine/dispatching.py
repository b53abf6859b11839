"""From waiting rows to messages in Redis, and from delayed rows to waiting ones.

A message is a hint. Publishing is therefore tried once, never inside a transaction, and a failure is not
an error of the caller: `recovering.reconcile` publishes again whatever is not in Redis.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery import current_app
from django.db import connection, transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobs.engine import lifecycle
from jobs.engine.records import NewJob
from jobs.models import Job
from jobs.rules.redaction import summary
from jobs.rules.states import Status

logger = logging.getLogger(__name__)

FENCE_HEADER = "jadwal_attempt"
"""The header that carries the attempt a message is for; a message without it is a foreign one."""

STAMPS = ("stamped_headers", "stamps")
"""Headers by which a worker knows a task that was revoked by its stamps."""

BROKER_ERRORS = (OperationalError, RedisError, OSError)
MOST_PUSHED = 1_000
"""Messages in one command: Redis does nothing else meanwhile."""
_EMPTY_BODY = base64.b64encode(b"[[], {}, {}]").decode()
MUTE_SECONDS = 2.0
"""After a failure nothing is asked of the broker for this long, so that callers do not queue up on time-outs."""


@dataclass(frozen=True, slots=True)
class Message:
    """What Redis is told about a job."""

    job_id: str
    attempt: int
    task: str
    queue: str
    priority: int | None
    retries: int
    time_limit: float | None
    soft_time_limit: float | None
    argsrepr: str
    kwargsrepr: str
    headers: dict[str, Any]

    @classmethod
    def of(cls, job: NewJob | Job) -> Message:
        """Return the message that starts the next attempt of `job`."""
        return cls(
            job_id=job.id,
            attempt=getattr(job, "attempt", 0) + 1,
            task=job.task,
            queue=job.queue,
            priority=job.priority,
            retries=getattr(job, "errors", 0),
            time_limit=job.time_limit,
            soft_time_limit=job.soft_time_limit,
            argsrepr=summary(job.args),
            kwargsrepr=summary(job.kwargs),
            headers=job.headers,
        )

    def envelope(self) -> bytes:
        """Return what is put into the list: Celery's message protocol 2 in kombu's envelope, without arguments.

        https://docs.celeryq.dev/en/stable/internals/protocol.html; made here, because the general way costs
        ten times as much, and there are thousands at the full hour.
        """
        properties = {
            "correlation_id": self.job_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": self.queue},
            "priority": self.priority or 0,
            "body_encoding": "base64",
            "delivery_tag": f"{self.job_id}.{self.attempt}",
        }
        return json.dumps(
            {
                "body": _EMPTY_BODY,
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": self.as_headers(),
                "properties": properties,
            }
        ).encode()

    def as_headers(self) -> dict[str, Any]:
        """Return Celery's protocol 2 headers, and ours."""
        return {
            "lang": "py",
            "task": self.task,
            "id": self.job_id,
            "shadow": self.headers.get("shadow"),
            "eta": None,
            "expires": None,
            "group": self.headers.get("group"),
            "group_index": self.headers.get("group_index"),
            "retries": self.retries,
            "timelimit": [self.time_limit, self.soft_time_limit],
            "root_id": self.headers.get("root_id") or self.job_id,
            "parent_id": self.headers.get("parent_id"),
            "argsrepr": self.argsrepr,
            "kwargsrepr": self.kwargsrepr,
            "origin": "jadwal",
            "ignore_result": self.headers.get("ignore_result", False),
            FENCE_HEADER: self.attempt,
            **{key: self.headers[key] for key in STAMPS if key in self.headers},
        }


class _Line:
    """A process's own connections to Redis, kept: to borrow Celery's takes longer than to send a message.

    Threads may share it: each command has one of the pooled connections for itself.
    """

    def __init__(self) -> None:
        self.origin = self._origin()
        self.broker = current_app.connection_for_write()
        self.channel = self.broker.default_channel
        self.connections = self.channel.client.connection_pool

    @staticmethod
    def _origin() -> tuple[int, Any]:
        return os.getpid(), current_app.pool

    def holds(self) -> bool:
        """Whether it is still this process's, and that of the broker that Celery is configured for."""
        return self.origin == self._origin()

    def key(self, message: Message) -> str:
        """Return the name of the list that a message belongs into."""
        return str(self.channel._q_for_pri(message.queue, message.priority or 0))

    def send(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Send `commands` in one go and read the replies; a pipeline of redis-py takes twice as long."""
        connection = self.connections.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                connection.read_response()
        except BaseException:
            connection.disconnect()  # it may hold replies that nobody has read
            raise
        finally:
            self.connections.release(connection)


class _Doorbell:
    """What this process knows about the broker: whether it has just failed, and how often it has.

    One for everything that this process asks of Redis, so that a turn of beat waits for one time-out at most.
    """

    def __init__(self) -> None:
        self.muted_until = 0.0
        self.failures = 0
        """Publishes that the broker did not take, since this process began."""
        self.trouble = ""
        """How the last question to the broker ended that was not answered."""
        self._line: _Line | None = None

    def is_muted(self) -> bool:
        return time.monotonic() < self.muted_until

    def mute(self, exc: BaseException) -> str:
        """Leave the broker alone for a moment; return what is wrong with it."""
        self.muted_until = time.monotonic() + MUTE_SECONDS
        self._line = None  # there may be another broker to fail over to
        text = " ".join(str(exc).split()).rpartition(" of pipeline caused error: ")[2]  # not the message
        self.trouble = f"{type(exc).__name__}: {text}"
        return self.trouble

    def unmute(self) -> None:
        self.muted_until = 0.0

    def line(self) -> _Line:
        """Return this process's line to the broker. Raises one of `BROKER_ERRORS` if there is no broker."""
        if self._line is None or not self._line.holds():
            self._line = _Line()
        return self._line


doorbell = _Doorbell()


def publish(messages: Sequence[Message]) -> bool:
    """Send `messages`; return whether the broker took all of them. Never raises for a broker's trouble."""
    if not messages:
        return True
    if doorbell.is_muted():
        return False
    try:
        _push(doorbell.line(), messages)
    except BROKER_ERRORS as exc:
        doorbell.failures += 1
        logger.warning(
            "publish: the broker did not take %d message(s), they will be sent again: %s",
            len(messages),
            doorbell.mute(exc),
        )
        return False
    doorbell.unmute()
    return True


def _push(line: _Line, messages: Sequence[Message]) -> None:
    """Put each message into the list of its queue and priority, all in one round trip."""
    lists: dict[str, list[bytes]] = {}
    for message in messages:
        lists.setdefault(line.key(message), []).append(message.envelope())
    line.send(
        [
            ("LPUSH", key, *items[start : start + MOST_PUSHED])
            for key, items in lists.items()
            for start in range(0, len(items), MOST_PUSHED)
        ]
    )


def publish_on_commit(messages: Sequence[Message]) -> None:
    """Publish when the surrounding transaction commits; at once if there is none."""
    if messages:
        # Not a partial: Django names what failed by its __qualname__.
        transaction.on_commit(lambda: publish(messages), robust=True)


def messages_for(ids: Iterable[str]) -> list[Message]:
    """Return the messages of those of `ids` that are waiting."""
    rows = Job.objects.filter(id__in=list(ids), status=Status.WAITING)
    return [Message.of(row) for row in rows.order_by("available_at", "id")]


def publish_waiting(ids: Sequence[str]) -> None:
    """Publish the waiting ones among `ids` on commit."""
    if ids:
        publish_on_commit(messages_for(ids))


def promote_due(now: datetime, *, limit: int = 500) -> int:
    """Turn delayed jobs whose time has come into waiting ones and publish them; return how many.

    Jobs that are past their deadline are found out at their start. Any number of beats may call this.
    """
    with transaction.atomic():
        due = list(
            Job.objects.promotable(now)  # type: ignore[attr-defined]
            .order_by("available_at")
            .select_for_update(skip_locked=True)
            .values_list("id", flat=True)[:limit]
        )
        moved = lifecycle.promote(due, now=now)
        publish_waiting(moved)
    return len(moved)


def release_held(now: datetime, *, limit: int = 100) -> int:
    """Let the oldest held job of each schedule go when nothing else of that schedule is under way any more.

    A job that a limit holds back, or a gate, is under way: it will run.
    """
    sql = """
        SELECT DISTINCT ON (held.schedule_id) held.id
        FROM jobs_job AS held
        WHERE held.status = 'delayed' AND held.hold = 'overlap' AND held.available_at <= %s
          AND NOT EXISTS (
              SELECT 1 FROM jobs_job AS other
              WHERE other.schedule_id = held.schedule_id AND other.status IN ('delayed', 'waiting', 'active')
                AND other.hold <> 'overlap')
        ORDER BY held.schedule_id, held.scheduled_for, held.id
        LIMIT %s
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(sql, [now, limit])
            candidates = [row[0] for row in cursor.fetchall()]
        ids = list(
            Job.objects.filter(id__in=candidates)
            .select_for_update(skip_locked=True)
            .values_list("id", flat=True)
        )
        moved = lifecycle.promote(ids, now=now)
        publish_waiting(moved)
    return len(moved)


def next_promotion() -> datetime | None:
    """Return when the next delayed job is due, or None."""
    return (
        Job.objects.filter(status=Status.DELAYED, hold="")
        .order_by("available_at")
        .values_list("available_at", flat=True)
        .first()
    )
