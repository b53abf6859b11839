"""The register of workers: who is there, who is alive, and what they are asked to stop."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now

from jobs.models import Job, Worker
from jobs.rules.states import Status


def register(
    worker_id: UUID, *, name: str, host: str, pid: int, queues: list[str], concurrency: int, tasks: list[str]
) -> None:
    """Write down a worker that starts.

    An earlier run under the same name on the same host has ended, whatever it managed to say: two nodes of
    one name cannot work. Its jobs are rescued at the next sweep, and need not wait for its lease.
    """
    Worker.objects.filter(name=name, host=host, stopped_at__isnull=True).exclude(id=worker_id).update(
        heartbeat_at=datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    )
    Worker.objects.update_or_create(
        id=worker_id,
        defaults={
            "name": name,
            "host": host,
            "pid": pid,
            "queues": queues,
            "concurrency": concurrency,
            "tasks": tasks,
            "heartbeat_at": Now(),
            "stopped_at": None,
        },
    )


def beat(worker_id: UUID) -> bool:
    """Note that a worker is alive; return False if it is not in the register (any more)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE jobs_worker SET heartbeat_at = clock_timestamp()
               FROM (SELECT set_config('synchronous_commit', 'off', true) OFFSET 0) AS relaxed
               WHERE id = %s AND stopped_at IS NULL""",
            [worker_id],
        )
        return bool(cursor.rowcount)


def stop(worker_id: UUID) -> None:
    """Note that a worker has stopped in good order."""
    Worker.objects.filter(id=worker_id).update(stopped_at=Now())


def running(worker_id: UUID) -> int:
    """Return how many jobs a worker is running."""
    return Job.objects.filter(worker_id=worker_id, status=Status.ACTIVE).count()


def cancel_requests(worker_id: UUID) -> list[str]:
    """Return the jobs of a worker that somebody wants stopped."""
    return list(
        Job.objects.filter(
            worker_id=worker_id, status=Status.ACTIVE, cancel_requested_at__isnull=False
        ).values_list("id", flat=True)
    )
