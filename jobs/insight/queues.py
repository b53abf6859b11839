"""How the queues and the workers are."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count

from jobs.conf import conf
from jobs.engine import limiting
from jobs.insight import broker
from jobs.insight.formats import instant
from jobs.models import Job, Worker
from jobs.rules.states import Status

Document = dict[str, Any]

_COUNTS = """
    SELECT queue, status, count(*), extract(epoch FROM clock_timestamp() - min(available_at))
    FROM jobs_job WHERE status IN ('delayed', 'waiting', 'active', 'failed') GROUP BY queue, status
"""


def queue_documents(now: datetime) -> list[Document]:
    """Return every queue that is configured, or has jobs, a worker or a limit."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    oldest: dict[str, float] = {}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS)
        for queue, status, count, age in cursor.fetchall():
            counts[queue][status] = count
            if status == Status.WAITING:
                oldest[queue] = max(round(float(age), 3), 0.0)
    workers = Counter(queue for worker in _alive(now) for queue in worker.queues)
    configured = list(getattr(settings, "QUEUES", ()))
    limits, paused = limiting.queue_limits(), limiting.paused_queues()
    names = [*configured, *sorted((set(counts) | set(workers) | set(limits)) - set(configured))]
    depths = broker.depths(names)
    return [
        {
            "name": name,
            "depth": None if depths is None else depths[name],
            "waiting": counts[name].get("waiting", 0),
            "delayed": counts[name].get("delayed", 0),
            "active": counts[name].get("active", 0),
            "failed": counts[name].get("failed", 0),
            "workers": workers[name],
            "oldest_waiting_seconds": oldest.get(name),
            "paused": name in paused,
            "max_active": limits.get(name, (None, None))[0],
            "rate": limits.get(name, (None, None))[1],
        }
        for name in names
    ]


def worker_documents(now: datetime, *, include_stopped: bool = False) -> list[Document]:
    """Return the workers, alive or lost, and those that said goodbye if asked for; latest first."""
    rows = Worker.objects.order_by("name", "-started_at")
    if not include_stopped:
        rows = rows.filter(stopped_at__isnull=True)
    active = dict(
        Job.objects.filter(status=Status.ACTIVE).values_list("worker").annotate(n=Count("id")).order_by()
    )
    return [
        {
            "id": str(worker.id),
            "name": worker.name,
            "host": worker.host,
            "pid": worker.pid,
            "status": worker_status(worker, now),
            "queues": worker.queues,
            "concurrency": worker.concurrency,
            "active": active.get(worker.id, 0),
            "started_at": instant(worker.started_at),
            "heartbeat_at": instant(worker.heartbeat_at),
            "stopped_at": instant(worker.stopped_at),
        }
        for worker in rows
    ]


def worker_status(worker: Worker, now: datetime) -> str:
    """Return `alive`, `stopped` (it said goodbye) or `lost` (silent for longer than its lease)."""
    if worker.stopped_at is not None:
        return "stopped"
    return "alive" if worker.heartbeat_at > now - conf().lease else "lost"


def workers_on(queue: str, now: datetime) -> int:
    """Return how many workers that are alive take jobs from `queue`."""
    return sum(queue in worker.queues for worker in _alive(now))


def _alive(now: datetime) -> list[Worker]:
    return list(Worker.objects.alive(now, conf().lease))  # type: ignore[attr-defined]
