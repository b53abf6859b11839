"""Finding what was lost: jobs of dead workers, and messages that Redis no longer has.

Deciding is separate from moving: a query finds candidates, `rules.retry` decides, `lifecycle` moves each
one under its fence. Any number of beats may do this at once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import current_app
from django.db import connection, transaction
from django.db.models import Count

from jobs.conf import conf
from jobs.engine import aftermath, dispatching, ending, finishing, lifecycle
from jobs.engine.doorbell import BROKER_ERRORS, doorbell
from jobs.engine.ending import Ending
from jobs.engine.records import Fence
from jobs.models import Job
from jobs.rules import retry
from jobs.rules.states import Outcome, Reason, Status

logger = logging.getLogger(__name__)

RESCUE_BATCH = 200
SCAN_CHUNK = 1_000
REPUBLISH_BATCH = 1_000
LONG_LIST, FEW = 10_000, 1_000
READ_AGAIN = timedelta(minutes=5)
"""A long list is read every so often at most for a few messages that it lacks: they are in workers' hands.

Reading 100,000 messages takes a second, in which this beat decides nothing.
"""

_read_at: dict[str, datetime] = {}
"""When long lists that lacked a few were read last, by queue."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An active job that nobody runs any more."""

    fence: Fence
    errors: int
    crashes: int
    stopped: bool
    """The worker said goodbye: a graceful stop, which charges nothing."""
    why: str


def rescue(now: datetime, *, limit: int = RESCUE_BATCH) -> int:
    """Let the jobs of dead workers, and those past every limit, run again or die; return how many.

    A worker is dead when it has stopped or has been silent for the lease. Three crashes make a poison job.
    """
    with transaction.atomic():
        lost = list(_lost(now, limit))
        for one in lost:
            declare_lost(one, now=now)
    return len(lost)


def _lost(now: datetime, limit: int) -> Iterator[Lost]:
    sql = """
        SELECT job.id, job.attempt, job.errors, job.crashes, w.name, w.stopped_at IS NOT NULL,
               w.id IS NOT NULL AND w.stopped_at IS NULL AND w.heartbeat_at > %(now)s - %(lease)s
        FROM jobs_job AS job LEFT JOIN jobs_worker AS w ON w.id = job.worker_id
        WHERE job.status = 'active'
          AND (job.expected_end_at < %(now)s OR w.id IS NULL OR w.stopped_at IS NOT NULL
               OR w.heartbeat_at <= %(now)s - %(lease)s)
        ORDER BY job.started_at LIMIT %(limit)s
        FOR UPDATE OF job SKIP LOCKED
    """
    params: dict[str, Any] = {"now": now, "lease": conf().lease, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        for job_id, attempt, errors, crashes, name, stopped, alive in cursor.fetchall():
            why = (
                "The attempt ran past every limit."
                if alive
                else f"The worker {name or '(unknown)'} {'stopped' if stopped else 'was lost'}."
            )
            yield Lost(Fence(job_id, attempt), errors, crashes, stopped, why)


def declare_lost(lost: Lost, *, now: datetime | None = None) -> bool:
    """Move one job whose worker is gone: waiting again, or failed as poison. False: somebody was faster."""
    end = _end_of(lost)
    moved = finishing.record_or_fail(end, now=now)
    if moved and end.is_terminal:
        logger.error("rescue: job %s is poison after %d crashes", end.job_id, lost.crashes + 1)
    elif moved:
        logger.warning("rescue: job %s runs again. %s", end.job_id, lost.why)
    return moved


def _end_of(lost: Lost) -> Ending:
    if lost.stopped:
        return ending.interrupted(lost.fence)
    if lost.crashes + 1 < retry.POISON_CRASHES:
        return ending.crashed(lost.fence, lost.why)
    end = ending.failed(lost.fence, Reason.POISON, outcome=Outcome.CRASH, error=lost.why)
    with ending.collecting(end):
        aftermath.tell(Job.objects.get(id=lost.fence.job_id), WorkerLostError(lost.why))
    return end


def reconcile(now: datetime) -> int:
    """Publish again the waiting jobs whose messages Redis does not have; return how many.

    The backlog guard: a queue whose list is at least as long as its waiting rows has lost nothing and is
    not read. Otherwise the list is read, and only what is missing from it is sent. A job is not looked for
    before it is `publish_grace` old: until then its message may be in a worker's hands.
    """
    if doorbell.is_muted():
        return 0
    old = now - conf().publish_grace
    published = 0
    try:
        for queue, count in _suspects(old):
            # Counted again where it looks as if something were missing: workers may have taken what was
            # there between the counting of the rows and that of the messages.
            held = depth(queue)
            if held < count and _is_worth_reading(queue, held, _suspects(old, queue=queue), now):
                published += _republish(queue, old, now)
    except BROKER_ERRORS as exc:
        logger.warning("reconcile: the broker does not answer, nothing is lost: %s", doorbell.mute(exc))
    return published


def _suspects(old: datetime, **which: str) -> list[tuple[str, int]]:
    """Return the queues with jobs that wait since before `old`, and how many."""
    jobs = Job.objects.filter(status=Status.WAITING, published_at__lt=old, **which)
    return list(jobs.values_list("queue").annotate(n=Count("id")).order_by())


def _is_worth_reading(queue: str, held: int, suspects: list[tuple[str, int]], now: datetime) -> bool:
    missing = dict(suspects).get(queue, 0) - held
    if held < LONG_LIST or missing <= 0 or missing >= FEW:
        return missing > 0
    last = _read_at.get(queue)
    if last is not None and now - last < READ_AGAIN:
        return False
    _read_at[queue] = now
    return True


def _republish(queue: str, old: datetime, now: datetime) -> int:
    present = set(queued_ids(queue))
    waiting = (
        Job.objects.filter(status=Status.WAITING, queue=queue, published_at__lt=old)
        .order_by("available_at")
        .values_list("id", flat=True)
    )
    missing = [job_id for job_id in waiting.iterator(chunk_size=SCAN_CHUNK) if job_id not in present]
    published = 0
    for start in range(0, len(missing), REPUBLISH_BATCH):
        batch = missing[start : start + REPUBLISH_BATCH]
        # Another beat may have found the same: what it has noted meanwhile is its own to send.
        ours = lifecycle.note_published(batch, before=old, now=now)
        if not dispatching.publish(dispatching.messages_for(ours)):
            break
        published += len(ours)
    if published:
        logger.warning("reconcile: %d message(s) of queue %s were lost and are sent again", published, queue)
    return published


def depth(queue: str) -> int:
    """Return how many messages Redis holds for `queue`, all priorities together."""
    with current_app.connection_or_acquire() as broker:
        channel = broker.default_channel
        # Not in a transaction: a Redis that is full refuses even to count in one.
        with channel.client.pipeline(transaction=False) as pipe:
            for key in _keys(channel, queue):
                pipe.llen(key)
            return sum(pipe.execute())


def queued_ids(queue: str) -> Iterator[str]:
    """Yield the job ids of the messages that Redis holds for `queue`; others are passed over."""
    with current_app.connection_or_acquire() as broker:
        channel = broker.default_channel
        for key in _keys(channel, queue):
            start = 0
            while chunk := channel.client.lrange(key, start, start + SCAN_CHUNK - 1):
                yield from filter(None, map(_job_id, chunk))
                start += SCAN_CHUNK


def _keys(channel: Any, queue: str) -> list[str]:
    return [channel._q_for_pri(queue, step) for step in channel.priority_steps]


def _job_id(item: bytes) -> str | None:
    try:
        return str(json.loads(item)["headers"]["id"])
    except (ValueError, KeyError, TypeError):
        return None
