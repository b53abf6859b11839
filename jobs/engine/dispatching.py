"""From waiting rows to messages in Redis, and from delayed rows to waiting ones.

A message is a hint. Publishing is therefore tried once, never inside a transaction, and a failure is not
an error of the caller: `recovering.reconcile` publishes again whatever is not in Redis.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

from django.db import connection, transaction

from jobs.engine import lifecycle
from jobs.engine.doorbell import BROKER_ERRORS, Line, doorbell
from jobs.engine.records import NewJob
from jobs.models import Job
from jobs.rules.messages import EMPTY_BODY
from jobs.rules.redaction import summary
from jobs.rules.states import Status

logger = logging.getLogger(__name__)

FENCE_HEADER = "jadwal_attempt"
"""The header that carries the attempt a message is for; a message without it is a foreign one."""

STAMPS = ("stamped_headers", "stamps")
"""Headers by which a worker knows a task that was revoked by its stamps."""

MOST_PUSHED = 1_000
"""Messages in one command: Redis does nothing else meanwhile."""


@dataclass(slots=True)  # not frozen, though nobody changes one: to freeze takes as long as to make
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
        ten times as much, and there are thousands at the full hour. Most messages of a task differ in three
        places only, so the text around these is kept.
        """
        if self.headers:
            return self._text().encode()
        others = (getattr(self, name) for name in _ALIKE)
        places = map(encode_basestring_ascii, (self.job_id, self.argsrepr, self.kwargsrepr))
        job_id, args, kwargs = (text[1:-1] for text in places)
        return (_kept_text(*others) % {"id": job_id, "args": args, "kwargs": kwargs}).encode()

    def _text(self) -> str:
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
                "body": EMPTY_BODY,
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": self.as_headers(),
                "properties": properties,
            }
        )

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


_ALIKE = ("task", "queue", "priority", "attempt", "retries", "time_limit", "soft_time_limit")
"""What messages have in common that share a text, but for their `_PLACES`."""
_PLACES = {"id": "@jadwal-id@", "args": "@jadwal-args@", "kwargs": "@jadwal-kwargs@"}


@lru_cache(maxsize=1_000, typed=True)
def _kept_text(*alike: Any) -> str:
    """Return the text of the messages that are alike in `_ALIKE`, as a format with a field for each place."""
    marked = Message(
        **dict(zip(_ALIKE, alike, strict=True)),
        job_id=_PLACES["id"],
        argsrepr=_PLACES["args"],
        kwargsrepr=_PLACES["kwargs"],
        headers={},
    )
    text = marked._text().replace("%", "%%")
    for name, mark in _PLACES.items():
        text = text.replace(mark, f"%({name})s")
    return text


def publish(messages: Sequence[Message], *, wait: bool = True) -> bool:
    """Send `messages`; return whether the broker took all of them. Never raises for a broker's trouble.

    Whoever does not `wait` for the answer is told that it did: what the broker says against it is noticed by who
    publishes next, and what it has not taken is sent again by `recovering.reconcile`, as after any failure.
    """
    if not messages:
        return True
    if doorbell.is_muted():
        return False
    try:
        _push(doorbell.line(), messages, wait=wait)
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


def _push(line: Line, messages: Sequence[Message], *, wait: bool) -> None:
    """Put each message into the list of its queue and priority, all in one round trip."""
    lists: dict[str, list[bytes]] = {}
    for message in messages:
        lists.setdefault(line.key(message.queue, message.priority), []).append(message.envelope())
    line.send(
        [
            ("LPUSH", key, *items[start : start + MOST_PUSHED])
            for key, items in lists.items()
            for start in range(0, len(items), MOST_PUSHED)
        ],
        wait=wait,
    )


def publish_on_commit(messages: Sequence[Message], *, wait: bool = True) -> None:
    """Publish when the surrounding transaction commits; at once if there is none. `wait` as for `publish`."""
    if messages:
        # Not a partial: Django names what failed by its __qualname__.
        transaction.on_commit(lambda: publish(messages, wait=wait), robust=True)


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
