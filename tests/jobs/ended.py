"""Jobs that have come to an end, with everything that they leave behind."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django_celery_results.models import TaskResult

from jobs.engine import lifecycle
from jobs.models import Job, JobLog
from jobs.rules.states import Outcome, Reason
from tests.jobs import moves
from tests.jobs.builders import NOON, begin, job

TICK = timedelta(microseconds=1)
DAYS = {"completed": 7, "cancelled": 30, "skipped": 30, "failed": 90}
"""How long jobs are kept by default, as it is promised."""


def days(n: float) -> timedelta:
    return timedelta(days=n)


def ended(status: str, at: datetime = NOON, **fields: Any) -> Job:
    """A job that came to this end, at this instant, with an attempt, a log line and a result."""
    if status == "skipped":
        row = job(**fields)
        assert lifecycle.skip([row.id], Reason.EXPIRED, now=at) == [row.id]
        return row
    row = job(**fields)
    fence = begin(row, max_attempts=1).fence
    JobLog.objects.create(job=row, attempt=1, level=20, logger="x", content="x", logged_at=at)
    TaskResult.objects.create(task_id=row.id)
    end = {
        "completed": lambda: moves.complete(fence, now=at),
        "cancelled": lambda: lifecycle.cancel_active(fence, now=at),
        "failed": lambda: moves.fail(
            fence, Reason.EXHAUSTED, outcome=Outcome.ERROR, error="x", traceback="x", now=at
        ),
    }[status]
    assert end()
    return row


def kept() -> set[str]:
    return set(Job.objects.values_list("id", flat=True))
