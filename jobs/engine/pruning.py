"""Deleting what has been kept long enough, a small batch at a time.

The fence against deciding an old occurrence again is the schedule's cursor, not the row: it survives.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection, transaction

from jobs.conf import conf
from jobs.models import Worker

WORKERS_KEPT = timedelta(days=7)

_PRUNE = """
    WITH old AS MATERIALIZED (
        SELECT id FROM jobs_job WHERE status = %s AND finished_at < %s
        ORDER BY finished_at LIMIT %s FOR UPDATE SKIP LOCKED
    ), logs AS (DELETE FROM jobs_joblog USING old WHERE job_id = old.id),
    attempts AS (DELETE FROM jobs_attempt USING old WHERE job_id = old.id),
    results AS (DELETE FROM django_celery_results_taskresult USING old
                WHERE task_id = (old.id COLLATE "default"))
    DELETE FROM jobs_job USING old WHERE jobs_job.id = old.id
"""


def prune(now: datetime, *, batch: int = 1_000) -> int:
    """Delete at most `batch` jobs of each status that are past their retention; return how many.

    Their attempts, log lines and results go with them. Zero means that nothing is left to do.
    """
    deleted = 0
    for status, kept in conf().retention.items():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_PRUNE, [status, now - kept, batch])
            deleted += cursor.rowcount
    Worker.objects.dead(now, WORKERS_KEPT).filter(heartbeat_at__lt=now - WORKERS_KEPT).delete()  # type: ignore[attr-defined]
    return deleted
